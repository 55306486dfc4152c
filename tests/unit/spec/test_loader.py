# ruff: noqa: E501 - a row of a table says more on one line
from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from builder.errors import BuildError, Place, SpecInvalid
from builder.model.spec import GIB, Choice, DataDiskSpec, GeneralizeSpec, ImageSpec, RetainSpec
from builder.spec.loader import load
from builder.spec.project import find_root
from tests.unit.spec.projects import AZURE, LOCAL, diagnose, load_all, only_image, put

WHOLE = """\
name: web
description: nginx on Debian 12
os: {family: linux, distribution: debian, release: "12", architecture: x64, generation: 2}
source:
  marketplace: {publisher: Debian, offer: debian-12, sku: 12-gen2, version: latest}
machine:
  azure: {size: [Standard_D2s_v5, Standard_D2as_v5], subnet: null, security: {type: TrustedLaunch}}
disks:
  os: {size: 30GiB}
  data: [{lun: 0, size: 64GiB, filesystem: ext4, mount: /data}]
prepare:
  - packages: {upgrade: true, install: [nginx, jq], remove: [telnet]}
  - files: [{path: /etc/nginx/conf.d/tokens.conf, source: files/tokens.conf, mode: "0644"}]
  - template: {source: files/motd.j2, path: /etc/motd}
  - users: [{name: app, system: true}]
  - services: {enable: [nginx]}
  - script: {path: scripts/harden.sh, env: {LEVEL: strict}, secrets: {TOKEN: {env: APP_TOKEN}}, timeout: 10m, checkpoint: true}
  - run: echo "{{ image.version }}" > /etc/image-version
  - restart: {}
generalize: {}
capture: {kind: vmImage}
test:
  - provision: {}
  - run: systemctl is-active nginx
  - identity: unique
publish:
  version: auto
  retain: {versions: 5}
  to:
    - gallery: {resourceGroup: images, gallery: corp, definition: web, replicas: 3, regions: [{name: westeurope, replicas: 2}, northeurope]}
    - directory: {}
"""


@pytest.fixture
def whole(tmp_path: Path) -> ImageSpec:
    put(tmp_path, "images/files/tokens.conf", "server_tokens off;\n")
    put(tmp_path, "images/files/motd.j2", "{{ image.name }} {{ image.version }} on {{ image.os.distribution }}\n")
    put(tmp_path, "images/scripts/harden.sh", "#!/bin/sh\n")
    return only_image(tmp_path, WHOLE, "1.4.2")


def test_the_whole_model(whole: ImageSpec):
    assert (whole.name, whole.description, whole.capture, whole.state) == (
        "web",
        "nginx on Debian 12",
        "vmImage",
        "active",
    )
    assert whole.disks.os_size == 30 * GIB
    assert whole.disks.data == (DataDiskSpec(0, 64 * GIB, "ext4", "/data"),)
    assert whole.generalize == GeneralizeSpec()
    assert whole.publish.retain == RetainSpec(versions=5)
    assert whole.file == "images/web.yaml"
    assert whole.source == Choice(
        "marketplace",
        {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"},
        ("source", "marketplace"),
    )
    assert whole.machine.values["size"] == ["Standard_D2s_v5", "Standard_D2as_v5"]
    assert whole.machine.values["diskController"] == "SCSI"


def test_prepare_steps_are_complete(whole: ImageSpec):
    none = {"timeout": None}
    rights = {"owner": "root", "group": "root"}
    assert [(step.kind, step.values) for step in whole.prepare] == [
        ("packages", {"upgrade": True, "install": ["nginx", "jq"], "remove": ["telnet"], **none}),
        (
            "files",
            {"files": [{"path": "/etc/nginx/conf.d/tokens.conf", "source": "files/tokens.conf", "mode": "0644", **rights}], **none},
        ),
        (
            "template",
            {"source": "files/motd.j2", "path": "/etc/motd", "content": "web 1.4.2 on debian\n", **rights, **none},
        ),
        ("users", {"users": [{"name": "app", "system": True, "groups": [], "sshKeys": [], "sudo": False}], **none}),
        ("services", {"enable": ["nginx"], "disable": [], "mask": [], **none}),
        (
            "script",
            {"path": "scripts/harden.sh", "args": [], "env": {"LEVEL": "strict"}, "secrets": {"TOKEN": {"env": "APP_TOKEN"}}, "timeout": 600.0, "checkpoint": True},
        ),
        ("run", {"command": 'echo "1.4.2" > /etc/image-version', "env": {}, "secrets": {}, "checkpoint": False, **none}),
        ("restart", none),
    ]  # fmt: skip
    assert [step.path for step in whole.prepare][:2] == [("prepare", 0, "packages"), ("prepare", 1, "files")]


def test_tests_and_destinations_are_complete(whole: ImageSpec):
    assert [(check.kind, check.values) for check in whole.test] == [
        ("provision", {"timeout": None}),
        ("run", {"command": "systemctl is-active nginx", "env": {}, "timeout": None}),
        ("identity", {"mode": "unique", "timeout": None}),
    ]
    gallery, directory = whole.publish.to
    # A region takes from its gallery what it doesn't say itself
    assert gallery.values["regions"] == [
        {"name": "westeurope", "replicas": 2, "storageType": "Standard_LRS"},
        {"name": "northeurope", "replicas": 3, "storageType": "Standard_LRS"},
    ]
    assert directory.values == {"path": "gallery"}


def test_nodes_of_the_full_form_have_the_places_of_the_short_one(whole: ImageSpec):
    assert whole.place("prepare", 1, "files", "files", 0, "source") == whole.place("prepare", 1, "files", 0, "source")
    assert whole.place("prepare", 6, "run", "command") == Place("images/web.yaml", 18, 10)
    assert whole.place("prepare", 1, "files", "files", 0, "owner") == whole.place("prepare", 1, "files", "files", 0)


def test_defaults_of_what_is_left_out(tmp_path: Path):
    image = only_image(tmp_path, LOCAL)
    assert image.machine == Choice("local", {"package_sources": "image", "memory": GIB, "cpus": 2}, ("machine",))
    assert image.publish.to == (Choice("directory", {"path": "gallery"}, ("publish",)),)
    assert (image.publish.version, image.capture, image.generalize) == ("auto", "vmImage", GeneralizeSpec())
    assert image.place("machine", "local") == Place("images/web.yaml", 1, 1)


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        (LOCAL, "local"),
        (LOCAL.replace("bootstrap: {}", "file: {url: 'https://example.org/a', sha256: " + "a" * 64 + "}"), "local"),
        (AZURE, "azure"),
    ],
)
def test_the_machine_follows_the_source(tmp_path: Path, text: str, machine: str):
    assert only_image(tmp_path, text).machine.kind == machine


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ("", ["Standard_D2s_v5"]),
        ("machine: {azure: {security: {type: ConfidentialVM}}}", ["Standard_DC2as_v5"]),
        ("machine: {azure: {size: Standard_B2s}}", ["Standard_B2s"]),
    ],
)
def test_the_size_follows_what_the_image_needs(tmp_path: Path, more: str, size: list[str]):
    assert only_image(tmp_path, AZURE + more).machine.values["size"] == size


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1h1m1s", 3661), ("45", 45)]
)
def test_lengths_of_time(tmp_path: Path, written: str, seconds: float):
    image = only_image(tmp_path, LOCAL + f"prepare:\n- run: {{command: ls, timeout: {written}}}")
    assert image.prepare[0].values["timeout"] == seconds


def test_generalize_false_is_specialized(tmp_path: Path):
    assert only_image(tmp_path, LOCAL + "generalize: false").generalize is None


def test_generalize_names(tmp_path: Path):
    text = LOCAL + "generalize: {skip: [logs], add: [user-account], keep: [/home/app]}"
    assert only_image(tmp_path, text).generalize == GeneralizeSpec(("/home/app",), ("logs",), ("user-account",))


# --- Variables, environments, defaults

PROJECT = """\
vars: {level: project, size: 8GiB, list: [a, b]}
environments:
  prod: {vars: {level: environment}, defaults: {description: in production, disks: {os: {size: 20GiB}}}}
defaults:
  tags: {team: web, stage: "{{ environment }}"}
  disks: {os: {size: "{{ vars.size }}"}}
  machine: {local: {cpus: 4}}
  test: [{provision: {}}]
"""
SHOWS = LOCAL + 'prepare:\n- run: "echo {{ vars.level }}"\n'


@pytest.mark.parametrize(
    ("own", "options", "level"),
    [
        ("", {}, "project"),
        ("vars: {level: spec}", {}, "spec"),
        ("vars: {level: spec}", {"environment": "prod"}, "environment"),
        ("vars: {level: spec}", {"environment": "prod", "variables": {"level": "given"}}, "given"),
        ("vars: {level: spec}", {"variables": {"level": "{{ 1 + 1 }}"}}, "{{ 1 + 1 }}"),
        ('vars: {base: x, level: "{{ vars.base }}-{{ environment }}."}', {}, "x-."),
    ],
)
def test_later_origins_of_variables_win(tmp_path: Path, own: str, options: dict[str, object], level: str):
    put(tmp_path, "build.yaml", PROJECT)
    assert only_image(tmp_path, SHOWS + own, **options).prepare[0].values["command"] == f"echo {level}"


def test_defaults_are_merged_under_each_document(tmp_path: Path):
    put(tmp_path, "build.yaml", PROJECT)
    image = only_image(tmp_path, LOCAL + "tags: {team: db}\n", environment="prod")
    assert image.tags == {"team": "db", "stage": "prod"}
    assert image.disks.os_size == 20 * GIB
    assert image.description == "in production"
    assert image.machine.values["cpus"] == 4
    assert [check.kind for check in image.test] == ["provision"]
    assert image.place("tags", "team").file == "images/web.yaml"
    assert image.place("machine", "local", "cpus") == Place("build.yaml", 7, 27)
    assert image.place("description") == Place("build.yaml", 3, 62)


def test_lists_and_other_choices_replace_the_defaults(tmp_path: Path):
    put(tmp_path, "build.yaml", PROJECT)
    image = only_image(tmp_path, AZURE + "machine: {azure: {}}\ntest: []\n")
    assert image.machine.kind == "azure"
    assert image.test == ()


def test_what_is_wrong_in_defaults_is_told_there_and_once(tmp_path: Path):
    put(tmp_path, "build.yaml", "defaults:\n  machine: {local: {cpus: many}}\n")
    put(tmp_path, "images/other.yaml", LOCAL.replace("web", "other"))
    assert diagnose(tmp_path, LOCAL) == ["build.yaml:2:27 type 'cpus' must be a whole number, not text"]


def test_what_a_template_in_defaults_makes_is_told_there(tmp_path: Path):
    put(tmp_path, "build.yaml", 'vars: {n: many}\ndefaults:\n  machine: {local: {cpus: "{{ vars.n }}"}}\n')
    assert diagnose(tmp_path, LOCAL) == ["build.yaml:3:27 type 'cpus' must be a whole number, not text"]


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        ("vers: {}", ["build.yaml:1:1 unknown-key unknown key 'vers' | did you mean 'vars'?"]),
        ("specs: [../x]", ["build.yaml:1:9 path-outside '../x' must be a path below the project's root"]),
        ("store: /var/x", ["build.yaml:1:8 path-outside '/var/x' must be a path below the project's root"]),
        ("checkpoints: {expire: 30}", ["build.yaml:1:23 type 'expire' must be text, not a number | write 30d"]),
        ("checkpoints: {expire: 14 days}", ["build.yaml:1:23 pattern '14 days' can't be 'expire' | write 14d"]),
        (
            "checkpoints: {expire: 12h}",
            ["build.yaml:1:23 pattern '12h' can't be 'expire' | write days or weeks, such as 30d or 2w"],
        ),
        ("a: [", ["build.yaml:1:4 yaml-syntax this [ is never closed"]),
        ("a: [b", ["build.yaml:1:4 yaml-syntax this [ is never closed"]),
        ("- a", ["build.yaml:1:1 type the document must be a map, not a list"]),
        (
            "a: 1\na: 2",
            [
                "build.yaml:1:1 unknown-key unknown key 'a' | keys are: specs, store, defaults, vars, environments, records, checkpoints",
                "build.yaml:2:1 duplicate-key key 'a' is already set on line 1",
            ],
        ),
    ],
)
def test_what_is_wrong_with_the_project(tmp_path: Path, project: str, expected: list[str]):
    put(tmp_path, "build.yaml", project)
    assert diagnose(tmp_path, LOCAL) == expected


def test_project_settings(tmp_path: Path):
    put(
        tmp_path,
        "build.yaml",
        "store: .cache/build\ncheckpoints: {expire: 2w}\nrecords: {directory: {path: records}}\n",
    )
    put(tmp_path, "images/web.yaml", LOCAL)
    project = load_all(tmp_path).project
    assert (project.store, project.expire_checkpoints) == (".cache/build", 14 * 86_400)
    assert project.records == {"directory": {"path": "records"}}


def test_an_unknown_environment(tmp_path: Path):
    put(tmp_path, "build.yaml", PROJECT)
    assert diagnose(tmp_path, LOCAL, environment="prd") == [
        "build.yaml:2:1 unknown-environment there is no environment 'prd' | did you mean 'prod'?"
    ]


def test_a_variable_that_nothing_uses_is_refused(tmp_path: Path):
    put(tmp_path, "images/web.yaml", SHOWS + "vars: {level: x}")
    with pytest.raises(BuildError, match="no spec uses a variable 'leve'"):
        load_all(tmp_path, variables={"leve": "y"})


# --- Templates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LOCAL + 'prepare:\n- run: "echo {{ vars.level }}"', ["5:14 template-undefined vars has no 'level'"]),
        (LOCAL + 'prepare:\n- run: "echo {{ vars.title }}"', ["5:14 template-undefined vars has no 'title'"]),
        (LOCAL + 'prepare:\n- run: "{{ x"', ["5:9 template-syntax not a template: unexpected end of template, expected 'end of print statement'. | write {{ name }}; for the characters themselves write {{ '{{' }}"]),
        (LOCAL.replace("name: web", 'name: "{{ image.version }}"'), ["1:8 template-undefined there is no 'image' here | names are: vars, environment, matrix, image"]),
        (LOCAL + "prepare:\n- run: '{{ image.os.relese }}'", ["5:9 template-undefined image.os has no 'relese' | did you mean 'release'?"]),
        (LOCAL + "prepare:\n- run: 'a{#b'", ["5:10 template-syntax not a template: Missing end of comment tag | `{#` begins a comment; for the characters themselves write {{ '{#' }}"]),
        (LOCAL + 'vars: {a: "{{ vars.b }}", b: 1}', ["4:12 template-undefined vars has no 'b' | 'b' is set after it: a variable can use those that are set before it"]),
        (LOCAL + 'vars: {n: x}\nmachine: {local: {cpus: "{{ vars.n }}"}}', ["5:25 type 'cpus' must be a whole number, not text"]),
        (LOCAL + 'vars: {n: x}\ntags: {a: "{{ vars.n }}"}\ndescripton: "{{ vars.n }}"', ["6:1 unknown-key unknown key 'descripton' | did you mean 'description'?"]),
        (LOCAL + 'vars: 3\nprepare:\n- run: "{{ vars.n }}"', ["4:7 type 'vars' must be a map, not a number"]),
        (LOCAL + 'publish: {version: "{{ image.version }}"}', []),
    ],
)  # fmt: skip
def test_what_is_wrong_with_templates(tmp_path: Path, text: str, expected: list[str]):
    assert diagnose(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("step", "at"),
    [
        ("run: |\n    echo one\n\n    echo {{ nope }}\n", "8:10"),
        ("run: |2-\n      echo one\n     echo {{ nope }}\n", "7:11"),
        ("run: echo {{ nope }} # why", "5:13"),
        ("run: 'echo {{ nope }}'", "5:14"),
        ("run: {command: echo, env: {A: '{{ image.name }}{{ nope }}'}}", "5:50"),
        # Written in another way than it is read: where the text begins
        ("run: >\n    echo one\n    echo {{ nope }}\n", "5:8"),
        ("run: echo one\n    {{ nope }}", "5:8"),
        ("run: 'it''s {{ nope }}'", "5:8"),
        ('run: "\\x41 {{ nope }}"', "5:8"),
        ("run: &a echo {{ nope }}", "5:8"),
    ],
)
def test_what_is_wrong_in_a_text_is_told_where_it_stands(tmp_path: Path, step: str, at: str):
    (found,) = diagnose(tmp_path, LOCAL + f"prepare:\n- {step}")
    assert found.startswith(f"{at} template-undefined there is no 'nope' here")


def test_what_is_wrong_in_a_text_of_build_yaml_is_told_there(tmp_path: Path):
    put(tmp_path, "build.yaml", "vars:\n  a: text {{ nope }}\n")
    places = [line.split(" ")[0] for line in diagnose(tmp_path, LOCAL)]
    assert places == ["build.yaml:2:11"]
    put(tmp_path, "build.yaml", "defaults:\n  tags: {b: '{{ nope }}'}\n")
    places = [line.split(" ")[0] for line in diagnose(tmp_path, LOCAL)]
    assert places == ["build.yaml:2:14"]


def test_templates_make_what_the_schema_wants(tmp_path: Path):
    text = (
        LOCAL
        + """\
vars: {n: 3, t: 20, on: true}
machine: {local: {cpus: "{{ vars.n }}"}}
prepare:
- run: {command: "{{ vars.n }}", timeout: "{{ vars.t }}", checkpoint: "{{ vars.on }}"}
"""
    )
    image = only_image(tmp_path, text)
    assert image.machine.values["cpus"] == 3
    assert image.prepare[0].values["command"] == "3"
    assert image.prepare[0].values["timeout"] == 20
    assert image.prepare[0].values["checkpoint"] is True


def test_a_template_file_s_findings_point_into_it(tmp_path: Path):
    put(tmp_path, "images/motd.j2", "one\ntwo {{ image.nmae }}\n{{ vars.level }}\n")
    text = LOCAL + "prepare:\n- template: {source: motd.j2, path: /etc/motd}\n"
    assert diagnose(tmp_path, text) == [
        "images/motd.j2:2:5 template-undefined image has no 'nmae' | did you mean 'name'?",
        "images/motd.j2:3:1 template-undefined vars has no 'level'",
    ]


def test_what_one_text_costs_to_be_told_is_not_missing_for_another(tmp_path: Path):
    loop = "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}"
    text = LOCAL + f"prepare:\n- run: '{{{{ a }}}}{loop}'\n- run: '{{{{ b }}}}'\n"
    assert [line.split(" |")[0] for line in diagnose(tmp_path, text)] == [
        "5:9 template-undefined there is no 'a' here",
        "6:9 template-undefined there is no 'b' here",
    ]


def test_a_spec_without_templates_is_made_once(tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL)
    (document,) = load_all(tmp_path).documents
    assert document.render("1.0.0") is document.render("2.0.0")


def test_a_version_that_makes_a_spec_invalid_is_told(tmp_path: Path):
    put(
        tmp_path,
        "images/web.yaml",
        LOCAL
        + "tags: {v: \"{{ image.version | replace('1.0.0', 'x' ~ 'y' ~ vars.long) }}\"}\nvars: {long: \""
        + "z" * 300
        + '"}\n',
    )
    (document,) = load_all(tmp_path).documents
    assert document.render("2.0.0").tags == {"v": "2.0.0"}
    with pytest.raises(SpecInvalid) as caught:
        document.render("1.0.0")
    assert caught.value.diagnostics[0].code == "maxLength"


# --- Matrix

MATRIX = """\
name: web-{{ matrix.release }}-{{ matrix.flavour }}
os: {family: linux, distribution: debian, release: "{{ matrix.release }}"}
source: {bootstrap: {}}
matrix:
  release: ["11", "12"]
  flavour: [small, large]
  exclude: [{release: "11", flavour: large}]
  include: [{release: "13", flavour: tiny}]
"""


def names(root: Path, text: str) -> list[str]:
    put(root, "images/web.yaml", text)
    return [document.name for document in load_all(root).documents]


def test_a_matrix_makes_an_image_for_each_combination(tmp_path: Path):
    assert names(tmp_path, MATRIX) == ["web-11-small", "web-12-small", "web-12-large", "web-13-tiny"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MATRIX.replace("name: web-{{ matrix.release }}-{{ matrix.flavour }}", "name: web"), ["1:7 duplicate-name the matrix makes two images named 'web' | write a template such as web-{{ matrix.x }}"]),
        (MATRIX.replace("flavour: tiny", "flavor: tiny"), ["1:32 template-undefined matrix has no 'flavour' | did you mean 'flavor'?"]),
        (MATRIX.replace('"11", flavour: large', '"10"'), ["7:13 matrix-exclude excludes nothing: no combination has all these values"]),
        (LOCAL + "matrix: {a: []}", ["4:13 minItems 'a' must not be empty"]),
        (LOCAL + "matrix: {}", ["4:9 empty 'matrix' must not be empty"]),
        (LOCAL + "matrix: {a: x}", ["4:13 type 'a' must be a list, not text | write [x]"]),
        (LOCAL + "matrix: {" + ", ".join(f"a{n}: [1, 2, 3, 4, 5]" for n in range(5)) + "}", ["4:1 matrix-too-large the matrix has 3,125 combinations; at most 256 are possible"]),
        (MATRIX.replace('"{{ matrix.release }}"', "12"), ['2:52 type \'release\' must be text, not a number | write "12"']),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_matrix(tmp_path: Path, text: str, expected: list[str]):
    assert diagnose(tmp_path, text) == expected


# --- Files


def test_the_root_is_the_nearest_build_yaml_then_git(tmp_path: Path):
    (tmp_path / ".git").mkdir()
    put(tmp_path, "a/b/images/web.yaml", LOCAL)
    assert find_root(tmp_path / "a/b/images/web.yaml") == tmp_path
    put(tmp_path, "a/build.yaml", "")
    assert find_root(tmp_path / "a/b/images") == tmp_path / "a"


def test_without_paths_the_project_s_specs_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path, "build.yaml", "specs: ['**/*.image.yaml']\n")
    put(tmp_path, "x/y/web.image.yaml", LOCAL)
    put(tmp_path, "images/other.yaml", "not: a spec")
    monkeypatch.chdir(tmp_path / "x")
    loaded = load([])
    assert [document.name for document in loaded.documents] == ["web"]
    assert loaded.root == tmp_path


def test_a_folder_is_the_specs_in_it(tmp_path: Path):
    put(tmp_path, "build.yaml", "")
    put(tmp_path, "images/web.yaml", LOCAL)
    put(tmp_path, "ci/other.yaml", LOCAL.replace("web", "other"))
    assert [document.name for document in load([tmp_path]).documents] == ["web"]
    assert [document.name for document in load([tmp_path / "ci"]).documents] == ["other"]


def test_a_spec_brings_what_it_stands_on(tmp_path: Path):
    put(tmp_path, "build.yaml", "")
    put(tmp_path, "images/web.yaml", LOCAL.replace("{bootstrap: {}}", "{image: middle}"))
    put(tmp_path, "images/middle.yaml", LOCAL.replace("web", "middle").replace("{bootstrap: {}}", "{image: base}"))
    put(tmp_path, "images/base.yaml", LOCAL.replace("web", "base"))
    put(tmp_path, "images/other.yaml", "broken: [")
    loaded = load([tmp_path / "images/web.yaml"])
    assert [document.name for document in loaded.documents] == ["web", "middle", "base"]
    assert loaded.documents[0].render("0.0.0").source.values == {"name": "middle", "version": "latest"}


def test_inputs_are_the_files_with_their_digests(tmp_path: Path):
    put(tmp_path, "build.yaml", "vars: {}\n")
    put(tmp_path, "images/web.yaml", LOCAL)
    assert load([tmp_path]).inputs == {
        "build.yaml": hashlib.sha256(b"vars: {}\n").hexdigest(),
        "images/web.yaml": hashlib.sha256(LOCAL.encode()).hexdigest(),
    }


def test_nothing_outside_the_project_is_read(tmp_path: Path):
    put(tmp_path, "elsewhere/secret.yaml", "password: hunter2")
    put(tmp_path, "project/build.yaml", "")
    (tmp_path / "project/images").mkdir()
    (tmp_path / "project/images/web.yaml").symlink_to(tmp_path / "elsewhere/secret.yaml")
    assert diagnose(tmp_path / "project") == [
        "1:1 path-outside leads out of the project | copy the file into the repository"
    ]


def test_a_linked_folder_of_specs_is_not_followed_out(tmp_path: Path):
    put(tmp_path, "elsewhere/secret.yaml", "password: hunter2")
    put(tmp_path, "project/build.yaml", "")
    (tmp_path / "project/images").symlink_to(tmp_path / "elsewhere")
    assert diagnose(tmp_path / "project") == [
        "images/secret.yaml:1:1 path-outside leads out of the project | copy the file into the repository"
    ]


def test_build_yaml_that_leads_out_is_not_read(tmp_path: Path):
    put(tmp_path, "elsewhere/build.yaml", "vars: [hunter2]")
    put(tmp_path, "project/images/web.yaml", LOCAL)
    (tmp_path / "project/build.yaml").symlink_to(tmp_path / "elsewhere/build.yaml")
    assert diagnose(tmp_path / "project") == [
        "build.yaml:1:1 path-outside leads out of the project | copy the file into the repository"
    ]


@pytest.mark.parametrize("marker", ["build.yaml", ".git"])
@pytest.mark.parametrize(
    ("link", "target", "start"),
    [
        ("images/web.yaml", "elsewhere/images/web.yaml", "images/web.yaml"),
        ("images", "elsewhere/images", "images"),
        ("images", "elsewhere/images", "images/web.yaml"),
        ("images", "elsewhere", "images/images/web.yaml"),
        ("images", "elsewhere/images", "images/../build.yaml"),
        ("build.yaml", "elsewhere/build.yaml", "build.yaml"),
        ("build.yaml", "elsewhere/none.yaml", "images/none.yaml"),
    ],
)
def test_a_link_does_not_choose_the_root(tmp_path: Path, marker: str, link: str, target: str, start: str):
    put(tmp_path, "elsewhere/build.yaml", "")
    put(tmp_path, "elsewhere/images/web.yaml", "password: hunter2")
    put(tmp_path, f"project/{marker}", "")
    path = tmp_path / "project" / link
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / target)
    assert find_root(tmp_path / "project" / start) == tmp_path / "project"


def test_a_project_may_be_reached_by_a_link(tmp_path: Path):
    put(tmp_path, "project/build.yaml", "")
    put(tmp_path, "project/images/web.yaml", LOCAL)
    (tmp_path / "link").symlink_to(tmp_path / "project")
    for path in ("link", "link/images", "link/images/web.yaml"):
        assert load([tmp_path / path]).root == tmp_path / "project"


def test_a_folder_that_leads_out_is_not_listed(tmp_path: Path):
    put(tmp_path, "elsewhere/secret.yaml", "password: hunter2")
    put(tmp_path, "project/build.yaml", "specs: [none/*.yaml]")
    (tmp_path / "project/images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpecInvalid) as caught:
        load([tmp_path / "project/images"])
    (item,) = caught.value.diagnostics
    assert (item.place, item.code) == (Place("images"), "path-outside")


def test_a_path_outside_the_project_is_refused(tmp_path: Path):
    put(tmp_path, "project/build.yaml", "")
    put(tmp_path, "project/images/web.yaml", LOCAL)
    put(tmp_path, "other/web.yaml", LOCAL)
    with pytest.raises(SpecInvalid) as caught:
        load([tmp_path / "project/images/web.yaml", tmp_path / "other/web.yaml"])
    assert caught.value.diagnostics[0].code == "path-outside"


def test_a_file_that_is_not_there(tmp_path: Path):
    put(tmp_path, "build.yaml", "")
    with pytest.raises(SpecInvalid) as caught:
        load([tmp_path / "images/none.yaml"])
    assert caught.value.diagnostics[0].message == "can't be read: No such file or directory"


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    put(tmp_path, "build.yaml", "")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(SpecInvalid) as caught:
        load([tmp_path / "pipe.yaml"])
    assert caught.value.diagnostics[0].message == "is not a regular file"


@pytest.mark.parametrize("specs", ["images/*.yaml", "images/web.yaml", "**/*.yaml"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("none.yaml", "is a link that leads to nothing"),
        ("web.yaml", "is a link that leads to nothing"),
        (None, "is not a regular file"),
    ],
)
def test_what_can_not_be_read_is_not_passed_over(tmp_path: Path, specs: str, target: str | None, message: str):
    put(tmp_path, "build.yaml", f"specs: ['{specs}']")
    (tmp_path / "images").mkdir()
    if target is None:
        os.mkfifo(tmp_path / "images/web.yaml")
    else:
        (tmp_path / "images/web.yaml").symlink_to(target)
    assert diagnose(tmp_path) == [f"1:1 unreadable {message}"]


def test_an_editor_s_mark_is_no_spec(tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL)
    (tmp_path / "images/.#web.yaml").symlink_to("somebody@host.1")
    assert diagnose(tmp_path) == []


def test_variables_without_a_project(tmp_path: Path):
    put(tmp_path, "web.yaml", LOCAL + 'description: "{{ vars.timezone }}"\n')
    with pytest.raises(SpecInvalid) as caught:
        load([tmp_path / "web.yaml"])
    (item,) = caught.value.diagnostics
    assert item.message == "vars has no 'timezone'"
    assert (item.help or "").startswith("no build.yaml was found here or above")
    put(tmp_path, "build.yaml", "vars: {timezone: UTC}")
    assert load([tmp_path / "web.yaml"]).documents[0].render("1.0.0").description == "UTC"


def test_no_specs_at_all(tmp_path: Path):
    with pytest.raises(BuildError, match="there are no specs") as caught:
        load_all(tmp_path)
    assert caught.value.code == "no-specs"
    assert caught.value.message.endswith(": no file matches images/*.yaml, images/*.yml")
    assert caught.value.hint == "put a spec there, or say in build.yaml where they are: `specs`"


def test_no_file_where_the_project_says_that_specs_are(tmp_path: Path):
    put(tmp_path, "build.yaml", "vars: {}\nspecs: [nothing/*.yaml]\n")
    with pytest.raises(BuildError, match=r"no file matches nothing/\*\.yaml$") as caught:
        load([tmp_path])
    assert caught.value.where == Place("build.yaml", 2, 1)
    assert caught.value.hint == "change `specs` in build.yaml, or put a spec there"


def test_a_project_without_a_place_for_specs(tmp_path: Path):
    put(tmp_path, "build.yaml", "specs: []\n")
    assert diagnose(tmp_path) == ["build.yaml:1:8 minItems 'specs' must not be empty"]


@pytest.mark.parametrize(("git", "because"), [(True, "git's top level is the root"), (False, "the folder itself is")])
def test_no_specs_and_no_project(tmp_path: Path, git: bool, because: str):
    if git:
        (tmp_path / ".git").mkdir()
    with pytest.raises(BuildError, match="no specs") as caught:
        load([tmp_path])
    assert f"without a build.yaml here or above, {because}" in caught.value.message
    assert "`build init` writes a first one" in (caught.value.hint or "")


def test_no_specs_in_a_folder_of_a_project(tmp_path: Path):
    put(tmp_path, "images/web.yaml", LOCAL)
    put(tmp_path, "build.yaml", "")
    (tmp_path / "docs").mkdir()
    with pytest.raises(BuildError, match=r"^there are no specs in .*/docs$") as caught:
        load([tmp_path / "docs"])
    assert "build init" not in (caught.value.hint or "")


LISTS = """\
vars:
  web: [nginx, jq]
  all: "{{ vars.web + ['tree'] }}"
  env: {LEVEL: strict}
prepare:
- packages: {install: "{{ vars.all }}"}
- packages: {install: "{{ vars.all | sort }}", remove: "{{ ['a', 'a'] | unique }}"}
- run: {command: ls, env: "{{ vars.env }}"}
- run: echo {{ vars.all | join(' ') }}
"""


def test_a_list_or_map_may_come_from_a_variable(tmp_path: Path) -> None:
    """It stays what it is where it is all that the value says."""
    first, second, third, fourth = only_image(tmp_path, LOCAL + LISTS).prepare
    assert first.values["install"] == ["nginx", "jq", "tree"]
    assert (second.values["install"], second.values["remove"]) == (["jq", "nginx", "tree"], ["a"])
    assert third.values["env"] == {"LEVEL": "strict"}
    assert fourth.values["command"] == "echo nginx jq tree"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("packages: {install: '{{ vars.wb }}'}", "template-undefined vars has no 'wb' | did you mean 'web'?"),
        ("packages: {install: '{{ vars.text }}'}", "type 'install' must be a list, not text | write [one]"),
        ("packages: {install: 'x {{ vars.web }}'}", "template-failed a list or map can't be written as text | use `| join(', ')`"),
        ("template: {source: '{{ vars.web }}', path: /a}", "template-failed a list or map can't be written as text | use `| join(', ')`"),
        ("packages: {install: '{{ range(9999) | list + vars.bad }}'}", "template-failed `+` needs two numbers"),
    ],
)  # fmt: skip
def test_what_is_no_list(tmp_path: Path, value: str, expected: str) -> None:
    found = diagnose(tmp_path, f"{LOCAL}vars: {{web: [nginx], text: one, bad: x}}\nprepare:\n- {value}\n")
    assert [line.split(" ", 1)[1] for line in found] == [expected]
