from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.spec.projects import AZURE, LOCAL, diagnose

# What an author might write, and what is said about it: the place, the code, the message and the help
NOTHING = "must be a map, not nothing"
MESSAGES = [
    (f"{LOCAL}prepare:\n- packages:", f"5:3 type 'packages' {NOTHING} | write {{install: [...]}}, or remove the key"),
    (f"{LOCAL}prepare:\n- packages: nginx", "5:13 type 'packages' must be a map, not text | write {install: [nginx]}"),
    (f"{LOCAL}prepare:\n- packages: [a]", "5:13 type 'packages' must be a map, not a list | write {install: [a]}"),
    (f"{LOCAL}prepare:\n- services: [a]", "5:13 type 'services' must be a map, not a list | write {enable: [a]}"),
    (f"{LOCAL}publish: {{retain: 5}}", "4:19 type 'retain' must be a map, not a number | write {versions: 5}"),
    (f"{LOCAL}publish: {{retain: }}", f"4:11 type 'retain' {NOTHING} | write {{versions: 5}}, or remove the key"),
    (
        f"{LOCAL}prepare:\n- files: {{path: /etc/x, content: a}}",
        "5:10 type 'files' must be a list, not a map | start each item with `- `",
    ),
    (
        f"{LOCAL}prepare:\n- users: {{name: app}}",
        "5:10 type 'users' must be a list, not a map | start each item with `- `",
    ),
    (f"{LOCAL}Prepare: []", "4:1 unknown-key unknown key 'Prepare' | did you mean 'prepare'?"),
    ("{name: web", "1:1 yaml-syntax this { is never closed"),
    ("", "1:1 type the spec is empty | `build init` writes a spec to start from"),
    ("- a", "1:1 type the spec must be a map of keys and values | `build init` writes a spec to start from"),
    (f"{LOCAL}descripton: x", "4:1 unknown-key unknown key 'descripton' | did you mean 'description'?"),
    (f"{LOCAL}zzz: x", "4:1 unknown-key unknown key 'zzz'"),
    (f"{LOCAL}disks: {{os: {{size: 8GiB, kind: x}}}}", "4:26 unknown-key unknown key 'kind' | keys are: size"),
    (LOCAL.replace('"12"', "12"), "2:52 type 'release' must be text, not a number | write \"12\""),
    (LOCAL.replace('"12"', "22.10"), "2:52 type 'release' must be text, not a number | write \"22.10\""),
    (
        LOCAL.replace("linux", "linus"),
        "2:14 enum 'linus' is not a value of 'family': linux or windows | did you mean 'linux'?",
    ),
    (LOCAL.replace("linux", "bsd"), "2:14 enum 'bsd' is not a value of 'family' | it is one of: linux or windows"),
    (
        LOCAL.replace("name: web", "name: Web_X"),
        "1:7 pattern 'Web_X' can't be 'name' | write web_x",
    ),
    (LOCAL.replace("name: web", "name: Web Server"), "1:7 pattern 'Web Server' can't be 'name' | write web-server"),
    (LOCAL.replace("name: web", "name: 12"), "1:7 type 'name' must be text, not a number | write \"12\""),
    (LOCAL.replace("name: web", "name: '+1'"), "1:7 pattern '+1' can't be 'name' | write \"1\""),
    (
        LOCAL.replace("name: web", "name: '?'"),
        "1:7 pattern '?' can't be 'name' | "
        "a name is lower-case letters, digits, dots, dashes and underscores, at most 64, such as web",
    ),
    (f"{LOCAL}prepare:", "4:1 type 'prepare' must be a list, not nothing | write [], or remove the key"),
    (f"{LOCAL}prepare:\n- restart:", "5:3 type 'restart' must be a map, not nothing | write {}, or remove the key"),
    (
        f"{LOCAL}prepare:\n- packages: {{install: nginx}}",
        "5:23 type 'install' must be a list, not text | write [nginx]",
    ),
    (
        f"{LOCAL}prepare:\n- packages: {{install: [a], upgrade: yes}}",
        "5:37 type 'upgrade' must be true or false, not text | write true",
    ),
    (f"{LOCAL}prepare:\n- packages: {{install: [a, b, a]}}", "5:30 duplicate-item 'a' is listed twice"),
    (
        f"{LOCAL}prepare:\n- run: {{command: ls, secrets: {{TOKEN: hunter2}}}}",
        "5:39 type 'TOKEN' must be a map, not text | "
        "write {env: NAME}: a spec says where a secret comes from, never its value",
    ),
    (
        f"{LOCAL}prepare:\n- run: {{command: ls, secrets: {{TOKEN: {{env: a-b}}}}}}",
        "5:45 pattern 'a-b' can't be 'env' | use letters, digits and underscores, no digit first",
    ),
    (
        f"{LOCAL}prepare:\n- run: {{command: ls, secrets: {{TOKEN: {{value: hunter2}}}}}}",
        "5:40 unknown-key unknown key 'value' | keys are: env, file, keyVault",
    ),
    (f"{LOCAL}machine: local", "4:10 type 'machine' must be a map, not text | write `machine: {local: {}}`"),
    (f"{LOCAL}machine: lokal", "4:10 type 'machine' must be a map, not text | write `machine: {local: {}}`"),
    (f"{LOCAL}machine: vm", "4:10 type 'machine' must be a map, not text | it has one of these keys: azure, local"),
    (f"{LOCAL}machine:", "4:1 type 'machine' must be a map, not nothing | it has one of these keys: azure, local"),
    (
        LOCAL.replace("{bootstrap: {}}", "bootstrap"),
        "3:9 type 'source' must be a map, not text | write `source: {bootstrap: {}}`",
    ),
    (
        AZURE.replace("{marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2}}", "marketplace"),
        "3:9 type 'source' must be a map, not text | "
        "write `source: {marketplace: {publisher: ..., offer: ..., sku: ...}}`",
    ),
    # The command after it finds a VM to run in
    (
        f"{LOCAL}test:\n- provision\n- run: ls",
        "5:3 type an item of 'test' must be a map, not text | write `- provision: {}`",
    ),
    (f"{LOCAL}prepare:\n- run", "5:3 type an item of 'prepare' must be a map, not text | write `- run: ...`"),
    (f"{LOCAL}prepare:\n- run: ''", "5:8 minLength 'run' must not be empty"),
    (
        f"{LOCAL}prepare:\n- {{}}",
        "5:3 empty an item of 'prepare' needs one key | one of: packages, files, template, users, services, "
        "script, run, restart, windowsFeatures, windowsUpdates, registry",
    ),
    (
        f"{LOCAL}prepare:\n- run: ls\n  restart: {{}}",
        "6:3 one-of an item of 'prepare' can have one key, not 2: it already has 'run' | "
        "write each step as an item of its own",
    ),
    (
        f"{LOCAL}prepare:\n- run: {{command: ls, timeout: 10 minutes}}",
        "5:31 pattern '10 minutes' can't be 'timeout' | write 10m",
    ),
    (
        f"{LOCAL}prepare:\n- run: {{command: ls, env: {{LEVEL: 3}}}}",
        "5:35 type 'LEVEL' must be text, not a number | write \"3\"",
    ),
    (
        f"{LOCAL}prepare:\n- run: {{command: ls, env: {{1A: x}}}}",
        "5:28 key-pattern '1A' can't be a name here | use letters, digits and underscores, no digit first",
    ),
    (
        f"{LOCAL}prepare:\n- packages: {{install: ['jq; rm']}}",
        "5:24 pattern 'jq; rm' can't be an item of 'install' | "
        "write one package's name, without spaces: nginx, or nginx=1.22.1",
    ),
    (
        f"{LOCAL}prepare:\n- users: [{{name: Bad Name}}]",
        "5:18 pattern 'Bad Name' can't be 'name' | "
        "use at most 31 letters, digits, dots, dashes and underscores, a letter or underscore first",
    ),
    (
        f"{LOCAL}disks: {{os: {{size: 30GB}}}}",
        "4:20 pattern '30GB' can't be 'size' | write 30GiB",
    ),
    (f"{LOCAL}disks: {{os: {{size: 8}}}}", "4:20 type 'size' must be text, not a number | write 8GiB"),
    (
        f"{LOCAL}disks: {{os: {{size: 8.5}}}}",
        "4:20 type 'size' must be text, not a number | write a size such as 512MiB, 30GiB or 1TiB",
    ),
    (
        f"{LOCAL}disks: {{os: {{size: large}}}}",
        "4:20 pattern 'large' can't be 'size' | write a size such as 512MiB, 30GiB or 1TiB",
    ),
    (
        f"{LOCAL}prepare:\n- run: {{command: ls, timeout: 0s}}",
        "5:31 pattern '0s' can't be 'timeout' | write a length of time such as 90s, 10m or 1h30m",
    ),
    (
        f"{LOCAL}prepare:\n- run: {{command: ls, timeout: soon}}",
        "5:31 pattern 'soon' can't be 'timeout' | write a length of time such as 90s, 10m or 1h30m",
    ),
    (
        f"{LOCAL}prepare:\n- files: [{{path: /a, content: b, mode: 644}}]",
        "5:40 type 'mode' must be text, not a number | write \"0644\"",
    ),
    (
        f"{LOCAL}prepare:\n- files: [{{path: /a, content: b, mode: rwxr-x---}}]",
        "5:40 pattern 'rwxr-x---' can't be 'mode' | write \"0750\"",
    ),
    (
        f"{LOCAL}prepare:\n- files: [{{path: /a, content: b, mode: u+x}}]",
        "5:40 pattern 'u+x' can't be 'mode' | "
        'write octal digits, such as "0644" for a file or "0755" for a program',
    ),
    (
        f"{LOCAL}prepare:\n  packages: {{install: [nginx]}}\n  run: ls",
        "4:1 type 'prepare' must be a list, not a map | start each step with `- `",
    ),
    (f"{LOCAL}test:\n  provision: {{}}", "4:1 type 'test' must be a list, not a map | start each item with `- `"),
    (f"{LOCAL}test: provision", "4:7 type 'test' must be a list, not text | start each item with `- `"),
    (f"{LOCAL}disks: {{data: [{{lun: 64, size: 1GiB}}]}}", "4:22 maximum 'lun' can be at most 63"),
    (f"{LOCAL}disks: {{data: [{{lun: -1, size: 1GiB}}]}}", "4:22 minimum 'lun' must be at least 0"),
    (
        f"{LOCAL}disks: {{data: [{{lun: 1}}]}}",
        "4:16 missing-key key 'size' is missing in an item of 'data' | for example `size: 64GiB`",
    ),
    (
        f"{LOCAL}generalize: {{skip: [machine_id]}}",
        "4:21 enum 'machine_id' is not a value of an item of 'skip' | did you mean 'machine-id'?",
    ),
    (f"{LOCAL}generalize: none", "4:13 type 'generalize' must be a map or true or false, not text"),
    (
        f"{LOCAL}publish: {{version: 1.10}}",
        "4:20 type 'version' must be text, not a number | write auto, 1.10.x or \"1.10.0\"",
    ),
    (
        f"{LOCAL}publish: {{version: 2}}",
        "4:20 type 'version' must be text, not a number | write auto, 2.0.x or \"2.0.0\"",
    ),
    (f"{LOCAL}publish: {{version: v1.2.3}}", "4:20 pattern 'v1.2.3' can't be 'version' | write 1.2.3"),
    (f"{LOCAL}publish: {{version: latest}}", "4:20 pattern 'latest' can't be 'version' | write auto"),
    (
        f"{LOCAL}publish: {{version: newest}}",
        "4:20 pattern 'newest' can't be 'version' | write auto, 1.2.x, or three numbers such as \"1.2.0\"",
    ),
    (f"{LOCAL}publish: {{to: []}}", "4:15 minItems 'to' must not be empty"),
    (
        f"{LOCAL}tags: {{'a<b': x}}",
        "4:8 key-pattern 'a<b' can't be a name here | use at most 512 characters, none of them < > % & \\ ? /",
    ),
    (LOCAL.removeprefix("name: web\n"), "1:1 missing-key key 'name' is missing | for example `name: web`"),
    (
        "name: web\nos: {family: linux}",
        "1:1 missing-key key 'source' is missing | for example `source: {bootstrap: {}}`",
    ),
    (
        "name: web\nsource: {bootstrap: {}}",
        "1:1 missing-key key 'os' is missing | "
        'for example `os: {family: linux, distribution: debian, release: "12"}`',
    ),
    (
        "name: web\nos: {}\nsource: {bootstrap: {}}",
        "2:1 missing-key key 'family' is missing in 'os' | for example `family: linux`",
    ),
    (
        AZURE.replace(", sku: 12-gen2", ""),
        "3:10 missing-key key 'sku' is missing in 'marketplace' | for example `sku: 12-gen2`",
    ),
    (
        AZURE + "machine: {azure: {size: small}}",
        "4:25 pattern 'small' can't be 'size' | write a size such as Standard_D2s_v5",
    ),
]


@pytest.mark.parametrize(("text", "expected"), MESSAGES, ids=[expected[:40] for _, expected in MESSAGES])
def test_messages(tmp_path: Path, text: str, expected: str):
    assert diagnose(tmp_path, text) == [expected]


def test_a_misspelt_key_hides_nothing_and_is_not_missing(tmp_path: Path):
    text = """\
name: web
os: {family: linux}
sorce:
  marketplce: {publisher: Debian, offer: debian-12, skku: 12-gen2, version: 12}
prepaer:
  - pakages: {instal: nginx}
  - run: ls
"""
    assert diagnose(tmp_path, text) == [
        "3:1 unknown-key unknown key 'sorce' | did you mean 'source'?",
        "4:3 unknown-key unknown key 'marketplce' | did you mean 'marketplace'?",
        "4:53 unknown-key unknown key 'skku' | did you mean 'sku'?",
        "4:77 type 'version' must be text, not a number | write latest, or numbers with dots such as 12.20240101.1",
        "5:1 unknown-key unknown key 'prepaer' | did you mean 'prepare'?",
        "6:5 unknown-key unknown key 'pakages' | did you mean 'packages'?",
        "6:15 unknown-key unknown key 'instal' | did you mean 'install'?",
        "6:23 type 'instal' must be a list, not text | write [nginx]",
    ]


def test_rules_run_on_what_the_schema_leaves(tmp_path: Path):
    text = """\
name: web
os: {family: linux, distribution: gentoo}
source: {bootstrap: {}}
disks:
  data:
    - {lun: x, size: 1GiB}
    - {lun: 1, size: 1GiB}
    - {lun: 1, size: 1GiB}
prepaer:
  - rn: 3
  - scirpt: {path: missing.sh}
publish: {version: 1.2.3.4, to: [{directory: {path: /etc}}]}
"""
    assert diagnose(tmp_path, text) == [
        "2:35 bootstrap bootstrap can't make gentoo | it makes debian, ubuntu",
        "6:13 type 'lun' must be a whole number, not text",
        "8:13 duplicate-lun LUN 1 is already used by data disk 0",
        "9:1 unknown-key unknown key 'prepaer' | did you mean 'prepare'?",
        "10:5 unknown-key unknown key 'rn' | did you mean 'run'?",
        "10:9 type 'rn' must be text or a map, not a number | write \"3\"",
        "11:5 unknown-key unknown key 'scirpt' | did you mean 'script'?",
        "11:20 file-missing 'missing.sh' does not exist | paths are relative to the spec's folder",
        "12:20 pattern '1.2.3.4' can't be 'version' | write auto, 1.2.x, or three numbers such as \"1.2.0\"",
        "12:53 path-outside '/etc' must be a folder of its own below the project's root",
    ]


STEPS = """\
prepare:
- {script: {path: missing.sh}}
- {files: [{path: etc/a, content: x}]}
publish: {to: [{directory: {path: ../..}}]}
"""
NO_SCRIPT = "file-missing 'missing.sh' does not exist | paths are relative to the spec's folder"
NO_ROOT = "image-path 'etc/a' must be absolute, without '..' | write '/etc/a'"
OUTSIDE = "path-outside '../..' must be a folder of its own below the project's root"


# How a spec lacks a key that every image has, and the findings of the rules beside that one. What depends on the
# missing value (whether a path is one of Linux) can't be told.
@pytest.mark.parametrize(
    ("old", "new", "code", "beside"),
    [
        ("name: web", "name: Web", "pattern", [NO_SCRIPT, NO_ROOT, OUTSIDE]),
        ("name: web\n", "", "missing-key", [NO_SCRIPT, NO_ROOT, OUTSIDE]),
        ("source: {bootstrap: {}}\n", "", "missing-key", [NO_SCRIPT, NO_ROOT, OUTSIDE]),
        ("source: {bootstrap: {}}", "source: {zzz: 3}", "unknown-key", [NO_SCRIPT, NO_ROOT, OUTSIDE]),
        ("linux", "linus", "enum", [NO_SCRIPT, NO_ROOT, OUTSIDE]),
        ("linux", "plan9", "enum", [NO_SCRIPT, OUTSIDE]),
        ('os: {family: linux, distribution: debian, release: "12"}\n', "", "missing-key", [NO_SCRIPT, OUTSIDE]),
    ],
)
def test_what_a_document_can_not_do_without_hides_nothing(
    tmp_path: Path, old: str, new: str, code: str, beside: list[str]
) -> None:
    found = [line.split(" ", 1)[1] for line in diagnose(tmp_path, LOCAL.replace(old, new) + STEPS)]
    assert any(line.startswith(f"{code} ") for line in found)
    schema = ("pattern ", "missing-key ", "unknown-key ", "enum ")
    assert [line for line in found if not line.startswith(schema)] == beside


def test_the_one_key_that_a_text_was_meant_for(tmp_path: Path) -> None:
    """What the text stands for is looked at too."""
    assert diagnose(tmp_path, f"{LOCAL}prepare:\n- script: scripts/x.sh\n") == [
        "5:11 file-missing 'scripts/x.sh' does not exist | paths are relative to the spec's folder",
        "5:11 type 'script' must be a map, not text | write {path: scripts/x.sh}",
    ]


def test_all_files_are_checked_and_findings_are_sorted(tmp_path: Path):
    for name in ("b", "a"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / f"images/{name}.yaml").write_text(f"name: {name.upper()}\nzz: 1\n{LOCAL.split(chr(10), 1)[1]}")
    found = diagnose(tmp_path)
    assert [line.split(" ")[0] for line in found] == [
        "images/a.yaml:1:7",
        "images/a.yaml:2:1",
        "images/b.yaml:1:7",
        "images/b.yaml:2:1",
    ]
