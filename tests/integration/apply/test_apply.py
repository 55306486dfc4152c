"""From a spec to a version, and again: the whole path through the command line, on a real (tiny) disk."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from builder.disk.partitions import TYPE_EFI_SYSTEM, GptPartition, write_gpt
from tests.integration.apply.conftest import DISK, MIB, REPOSITORY, Project
from tests.integration.waiting import wait_until


def read(vhd: Path, path: str) -> str:
    """A file of the first partition, read without mounting; empty when it isn't there."""
    command = ["debugfs", "-R", f"cat {path}", f"{vhd}?offset={1 << 20}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_spec_becomes_a_version(project: Project) -> None:
    result = project.apply()
    assert result.code == 0, result.text
    folder = project.root / "gallery/tiny/1.0.0"
    assert sorted(entry.name for entry in folder.iterdir()) == ["manifest.json", "os.vhd", "sbom.cdx.json"]
    manifest = project.manifest()
    schema = json.loads((REPOSITORY / "schemas/manifest.schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(manifest)
    assert manifest["generalized"] is True
    # The VHD equals the layer that it came from
    capture = next(step["digest"] for step in manifest["steps"] if step["kind"] == "capture")
    layer = project.root / ".build/checkpoints" / capture.removeprefix("sha256:") / "os.qcow2"
    compare = ["qemu-img", "compare", "-f", "qcow2", "-F", "vpc", str(layer), str(folder / "os.vhd")]
    assert "identical" in subprocess.run(compare, capture_output=True, text=True, check=True).stdout
    assert (folder / "os.vhd").stat().st_size == 48 * 1024 * 1024 + 512
    # Nothing of the work is left beside it
    assert list((project.root / ".build/artifacts").iterdir()) == []
    assert list((project.root / ".build/work").iterdir()) == []


def test_what_the_steps_did_is_on_the_disk(project: Project) -> None:
    assert project.apply().code == 0
    vhd = project.root / "gallery/tiny/1.0.0/os.vhd"

    assert read(vhd, "/etc/one.conf") == "one\n"
    assert read(vhd, "/etc/last") == "last\n"
    assert read(vhd, "/etc/machine-id") == "uninitialized\n"
    assert read(vhd, "/var/log/messages") == ""


def test_a_second_apply_has_nothing_to_do(project: Project) -> None:
    assert project.apply().code == 0
    result = project.apply()
    assert result.code == 0
    assert "No changes" in result.text
    assert project.versions() == ["1.0.0"]


def test_an_edited_line_is_named_and_only_what_follows_runs(project: Project) -> None:
    assert project.apply().code == 0
    script = project.root / "scripts/last.sh"
    script.write_text(script.read_text().replace("echo done", "echo quite done"))
    plan = project.build("plan", "--detailed-exitcode")
    assert plan.code == 2
    assert "scripts/last.sh:4" in plan.out
    assert "+ echo quite done" in plan.out or "+echo quite done" in plan.out
    result = project.apply()
    assert result.code == 0, result.text
    done = [line for line in result.err.splitlines() if "✓" in line]
    kept = [line for line in result.err.splitlines() if "(checkpoint)" in line]
    assert len(kept) == 3
    assert "last.sh" in done[0]
    assert project.versions() == ["1.0.0", "1.0.1"]


def test_a_failed_script_says_where_and_how_to_go_on(project: Project) -> None:
    project.write("scripts/last.sh", "#!/bin/sh\necho the reason\nexit 7\n")
    result = project.apply()
    assert result.code == 1
    assert "exit code 7" in result.err
    assert "the reason" in result.err
    assert "tiny.image.yaml:8:" in result.err
    assert "build apply" in result.err
    assert project.versions() == []
    project.write("scripts/last.sh", "#!/bin/sh\necho better\n")
    again = project.apply()
    assert again.code == 0
    assert again.err.count("(checkpoint)") == 3


def test_a_script_that_hangs_is_ended(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("env: {LEVEL: strict}", "timeout: 1s"))
    project.write("scripts/last.sh", "#!/bin/sh\ntrap '' TERM\nsleep 3600 & sleep 3600\n")
    result = project.apply()
    assert result.code == 1
    assert "did not end within 1 s" in result.err


def test_a_script_may_print_a_gigabyte(project: Project) -> None:
    project.write("scripts/last.sh", "#!/bin/sh\nyes | head -c 1073741824\n")
    result = project.apply()
    assert result.code == 0, result.text[-2000:]
    log = next((project.root / ".build/runs").glob("*/tiny.log"))
    assert log.stat().st_size < 64 * 1024 * 1024
    assert "left out" in log.read_text(errors="replace")[-4000:]


def test_the_order_of_a_plan_file_is_carried_out_once(project: Project) -> None:
    assert project.build("plan", "--out", "p.buildplan").code == 0
    result = project.build("apply", "--progress", "plain", "p.buildplan")
    assert result.code == 0, result.text
    assert project.versions() == ["1.0.0"]
    again = project.build("apply", "p.buildplan")
    assert again.code == 5
    assert "applied" in again.err


def test_a_stale_plan_names_what_moved(project: Project) -> None:
    assert project.build("plan", "--out", "p.buildplan").code == 0
    project.write("scripts/last.sh", "#!/bin/sh\necho other\n")
    result = project.build("apply", "p.buildplan")
    assert result.code == 5
    assert "scripts/last.sh" in result.err
    assert project.versions() == []


def test_a_dry_run_has_no_effects(project: Project) -> None:
    result = project.apply("--dry-run")
    assert result.code == 0, result.text
    assert "last.sh" in result.text
    assert project.versions() == []
    assert not (project.root / ".build").exists()


def test_without_yes_somebody_has_to_say_it(project: Project) -> None:
    result = project.build("apply")
    assert result.code == 1
    assert "--yes" in result.err
    assert project.versions() == []


def test_an_interrupt_stops_cleanly(project: Project) -> None:
    project.write("scripts/last.sh", "#!/bin/sh\necho waiting\nsleep 3600\n")
    process = project.start("apply", "--yes", "--progress", "plain")
    log = project.root / ".build/runs"
    assert wait_until(lambda: any("waiting" in path.read_text() for path in log.glob("*/tiny.log")), 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert "build apply" in err
    project.write("scripts/last.sh", "#!/bin/sh\necho quick\n")
    assert project.apply().code == 0


def test_two_applies_at_once_make_one_version(project: Project) -> None:
    project.write("scripts/last.sh", "#!/bin/sh\necho waiting\nsleep 3\n")
    first = project.start("apply", "--yes", "--progress", "plain")
    log = project.root / ".build/runs"
    assert wait_until(lambda: any("waiting" in path.read_text() for path in log.glob("*/tiny.log")), 60)
    second = project.apply("--lock-timeout", "0")
    assert second.code == 4, second.text
    assert "run " in second.err
    _, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert project.versions() == ["1.0.0"]


def test_secrets_stay_out_of_everything(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("env: {LEVEL: strict}", "secrets: {TOKEN: {env: APP_TOKEN}}"))
    project.write("scripts/last.sh", '#!/bin/sh\necho "token: $TOKEN"\n[ "${#TOKEN}" -eq 20 ]\n')
    secret = "s3cr3t-" + "v4lue-" + "1234567"
    result = project.apply(env={"APP_TOKEN": secret})
    assert result.code == 0, result.text
    assert secret not in result.text
    found = subprocess.run(["grep", "-rlF", secret, str(project.root)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert any("(secret)" in path.read_text() for path in (project.root / ".build/runs").glob("*/tiny.log"))


def test_a_missing_secret_stops_before_the_step(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("env: {LEVEL: strict}", "secrets: {TOKEN: {env: APP_TOKEN_ABSENT}}"))
    result = project.apply()
    assert result.code == 1
    assert "APP_TOKEN_ABSENT" in result.err


def test_a_gallery_that_is_read_only_blocks(project: Project) -> None:
    gallery = project.root / "gallery"
    gallery.mkdir()
    subprocess.run(["mount", "--bind", str(gallery), str(gallery)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(gallery)], check=True)
        result = project.apply()
    finally:
        subprocess.run(["umount", str(gallery)], check=True)
    assert result.code == 1
    assert "read-only" in result.text
    assert "tiny.image.yaml:11" in result.text


def test_a_full_disk_is_called_that(project: Project) -> None:
    store = project.root / ".build"
    store.mkdir()
    project.write("scripts/last.sh", "#!/bin/sh\ndd if=/dev/urandom of=/big bs=1M count=30\n")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(store)], check=True)
    try:
        result = project.apply()
    finally:
        subprocess.run(["umount", str(store)], check=True)
    assert result.code == 1
    assert "full" in result.err, result.text
    assert project.versions() == []


def test_retention_never_takes_the_newest(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("publish:\n", "publish:\n  retain: {versions: 1}\n"))
    assert project.apply().code == 0
    (project.root / "gallery/tiny/0.9.0").mkdir()
    (project.root / "gallery/tiny/0.9.0/theirs").write_text("another tool's")
    project.write("scripts/last.sh", "#!/bin/sh\necho other\n")
    plan = project.build("plan")
    assert "1.0.0" in plan.out
    result = project.apply("--allow-delete")
    assert result.code == 0, result.text
    assert project.versions() == ["0.9.0", "1.0.1"]


def test_a_vm_image_has_its_data_disks(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    disks = "disks:\n  data: [{lun: 3, size: 1GiB, filesystem: ext4, mount: /data}]\ncapture: {kind: vmImage}\n"
    text = spec.read_text().replace("prepare:\n", f"{disks}prepare:\n")
    spec.write_text(text.replace("echo first > /etc/first", "grep -q ' /data ' /proc/mounts && echo kept > /data/here"))
    result = project.apply()
    assert result.code == 0, result.text
    folder = project.root / "gallery/tiny/1.0.0"
    assert (folder / "data-3.vhd").stat().st_size == (1 << 30) + 512
    disks = project.manifest()["disks"]
    assert [(disk["file"], disk["lun"]) for disk in disks] == [("os.vhd", None), ("data-3.vhd", 3)]
    assert read(folder / "data-3.vhd", "/here") == "kept\n"
    last = read(folder / "os.vhd", "/etc/fstab").splitlines()[-1]
    assert last.startswith("UUID=")
    assert "nofail" in last


def test_an_image_stands_on_another(project: Project) -> None:
    project.write(
        "app.image.yaml",
        "name: app\nos: {family: linux, distribution: tiny, generation: 1}\nsource: {image: tiny}\n"
        "prepare:\n  - run: test -f /etc/last && echo app > /etc/app\npublish: {to: [{directory: {path: gallery}}]}\n",
    )
    result = project.apply()
    assert result.code == 0, result.text
    assert (project.versions("tiny"), project.versions("app")) == (["1.0.0"], ["1.0.0"])
    assert "No changes" in project.apply().text
    project.write("scripts/last.sh", "#!/bin/sh\necho changed > /etc/last\n")
    plan = project.build("plan")
    assert plan.out.count("rebuild") >= 2
    assert project.apply().code == 0
    assert (project.versions("tiny"), project.versions("app")) == (["1.0.0", "1.0.1"], ["1.0.0", "1.0.1"])


def test_what_is_not_generalized_is_refused_with_a_list(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("publish:\n", "generalize: {keep: []}\npublish:\n"))
    # An `rm` that does nothing: what "the tool ran" does not show, the scan of the captured disk does
    project.write(
        "scripts/last.sh",
        "#!/bin/sh\nset -e\necho history > /root/.bash_history\n"
        "printf '#!/bin/busybox sh\\nexit 0\\n' > /usr/bin/no-rm\nchmod +x /usr/bin/no-rm\n"
        "ln -sf /usr/bin/no-rm /bin/rm\nln -sf dash /bin/sh\n",
    )
    result = project.apply()
    assert result.code == 1, result.text
    assert "not generalized" in result.err
    assert "/root/.bash_history" in result.err
    assert project.versions() == []


@pytest.mark.parametrize("text", ["not a disk\n" * 100_000, ""])
def test_a_source_that_is_no_disk(text: str, project: Project) -> None:
    """The plan says it, before anything is made."""
    source = project.root / "tiny.raw"
    source.unlink()
    source.write_text(text)
    result = project.apply()
    assert result.code == 1
    assert "tiny.image.yaml:4" in result.out
    assert "hint:" in result.out
    assert not (project.root / ".build/runs").exists()


@pytest.mark.parametrize("what", ["truncated", "encrypted"])
def test_a_source_that_is_no_whole_disk(what: str, project: Project, tiny_disk: Path) -> None:
    """What only the import tells is the source's fault, too, not that of a step on it."""
    source = project.root / "tiny.raw"
    source.unlink()
    if what == "encrypted":
        raw = project.root / "luks.raw"
        write_gpt(raw, 64 * MIB, [GptPartition(1, MIB, 62 * MIB)])
        with raw.open("r+b") as file:
            file.seek(MIB)
            file.write(b"LUKS\xba\xbe\x00\x02")
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(source)], check=True)
        raw.unlink()
    else:
        whole = project.root / "whole.qcow2"
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(tiny_disk), str(whole)], check=True)
        source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        whole.unlink()
    result = project.apply()
    assert result.code == 1
    assert (
        f"tiny.image.yaml:4:9: error[{'encrypted-disk' if what == 'encrypted' else 'disk-file-broken'}]" in result.err
    )
    assert "hint:" in result.err


def test_a_disk_of_another_architecture(project: Project) -> None:
    """The same disk, whose programs say that they are for arm64 (e_machine of the ELF header)."""
    other = project.root / "other.raw"
    data = bytearray((project.root / "tiny.raw").read_bytes())
    header = Path("/bin/busybox").read_bytes()[:20]
    place = data.find(header)
    while place >= 0:
        data[place + 18 : place + 20] = (183).to_bytes(2, "little")
        place = data.find(header, place + 1)
    other.write_bytes(data)
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("tiny.raw", "other.raw"))
    result = project.apply()
    assert result.code == 1
    assert "arm64" in result.err
    assert "tiny.image.yaml:2:" in result.err


def test_other_destinations_get_a_version_without_a_rebuild(project: Project) -> None:
    assert project.apply().code == 0
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text() + "    - directory: {path: second}\n")
    plan = project.build("plan")
    assert "publish" in plan.out
    result = project.apply()
    assert result.code == 0, result.text
    assert "✓" in result.err
    assert "last.sh" not in result.err
    one, two = (project.root / name / "tiny/1.0.0" for name in ("gallery", "second"))
    assert (one / "manifest.json").read_bytes() == (two / "manifest.json").read_bytes()
    assert (one / "os.vhd").read_bytes() == (two / "os.vhd").read_bytes()
    assert "No changes" in project.apply().text


def test_a_rebuild_on_request_starts_anew(project: Project) -> None:
    assert project.apply().code == 0
    result = project.apply("--rebuild", "tiny")
    assert result.code == 0, result.text
    assert "(checkpoint)" not in result.err
    assert project.versions() == ["1.0.0", "1.0.1"]


def test_events_are_json_lines(project: Project) -> None:
    result = project.apply("--events", "events.jsonl", "--progress", "json")
    assert result.code == 0, result.text
    lines = [json.loads(line) for line in (project.root / "events.jsonl").read_text().splitlines()]
    kinds = [line["type"] for line in lines]
    assert kinds[:2] == ["version", "run_start"]
    assert kinds[-1] == "summary"
    assert kinds.count("step_complete") == 7


@pytest.fixture
def elsewhere(project: Project) -> Iterator[Path]:
    """The project's gallery on a file system of its own."""
    gallery = project.root / "gallery"
    gallery.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(gallery)], check=True)
    yield gallery
    subprocess.run(["umount", str(gallery)], check=True)


def test_a_gallery_on_another_file_system(elsewhere: Path, project: Project) -> None:
    result = project.apply()
    assert result.code == 0, result.text
    assert read(elsewhere / "tiny/1.0.0/os.vhd", "/etc/last") == "last\n"
    assert (elsewhere / "tiny/1.0.0/os.vhd").stat().st_blocks * 512 < 16 << 20


def test_a_gallery_that_leads_out_of_the_project(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (project.root / "gallery").mkdir()
    (project.root / "gallery/tiny").symlink_to(outside)
    result = project.apply()
    assert result.code != 0
    assert "out of the project" in result.text
    assert list(outside.iterdir()) == []


def test_names_of_secrets_mean_nothing_on_this_host(project: Project) -> None:
    (project.root / "evil").mkdir()
    evil = project.write("evil/setpriv", "#!/bin/sh\ntouch evil-ran\n")
    evil.chmod(0o755)
    project.write("path", str(evil.parent))
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("env: {LEVEL: strict}", "secrets: {PATH: {file: path}}"))
    project.write("scripts/last.sh", '#!/bin/busybox sh\n/bin/busybox test "${#PATH}" -gt 10\n')
    assert project.apply().code == 0
    assert not (project.root / "evil-ran").exists()


def test_a_mount_point_may_have_a_space(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    disks = 'disks:\n  data: [{lun: 0, size: 1GiB, filesystem: ext4, mount: "/my data"}]\n'
    spec.write_text(spec.read_text().replace("prepare:\n", f"{disks}prepare:\n"))
    project.write("scripts/last.sh", "#!/bin/sh\necho kept > '/my data/here'\n")
    result = project.apply()
    if result.code == 3:
        assert "mount" in result.text
        return
    assert result.code == 0, result.text
    assert read(project.root / "gallery/tiny/1.0.0/data-0.vhd", "/here") == "kept\n"


def test_every_failure_of_several_is_told(project: Project) -> None:
    project.write("other.image.yaml", (project.root / "tiny.image.yaml").read_text().replace("tiny\n", "other\n", 1))
    project.write("scripts/last.sh", "#!/bin/sh\necho the reason\nexit 3\n")
    result = project.apply()
    assert result.code == 7
    assert result.err.count("exit code 3") >= 2
    assert result.err.count("the reason") >= 2


def test_a_saved_plan_takes_no_options(project: Project) -> None:
    assert project.build("plan", "--out", "p.buildplan").code == 0
    result = project.build("apply", "--exclude", "tiny", "p.buildplan")
    assert result.code == 1
    assert "as it is" in result.err


def test_a_missing_secret_is_told_before_anything_is_made(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("env: {LEVEL: strict}", "secrets: {TOKEN: {env: APP_TOKEN_ABSENT}}"))
    assert project.apply().code == 1
    assert not (project.root / ".build/checkpoints").exists()


def test_a_damaged_version_is_no_base(project: Project) -> None:
    assert project.apply().code == 0
    with (project.root / "gallery/tiny/1.0.0/os.vhd").open("r+b") as disk:
        disk.seek(30 << 20)
        disk.write(b"damage")
    project.write(
        "app.image.yaml",
        "name: app\nos: {family: linux, distribution: tiny, generation: 1}\nsource: {image: tiny}\n"
        "prepare:\n  - run: echo app > /etc/app\npublish: {to: [{directory: {path: gallery}}]}\n",
    )
    result = project.apply("app")
    assert result.code == 1
    assert "changed" in result.err


def test_a_version_without_its_disk_is_no_version(project: Project) -> None:
    assert project.apply().code == 0
    (project.root / "gallery/tiny/1.0.0/os.vhd").unlink()
    result = project.apply()
    assert (result.code, project.versions()) == (0, ["1.0.0", "1.0.1"])
    assert "or is damaged" in project.build("show", "tiny").out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("distribution: debian", "spec says distribution debian"),
        ('distribution: tiny, release: "2"', "spec says release 2"),
    ],
)
def test_another_system_than_the_spec_says(project: Project, wrong: str, said: str) -> None:
    spec = project.root / "tiny.image.yaml"
    spec.write_text(spec.read_text().replace("distribution: tiny", wrong))
    result = project.apply()
    assert result.code == 1
    assert said in result.err
    assert not project.versions()


def test_nested_data_disks_are_mounted_parents_first(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    disks = (
        "disks:\n  data:\n    - {lun: 0, size: 1GiB, filesystem: ext4, mount: /data/inner}\n"
        "    - {lun: 1, size: 1GiB, filesystem: ext4, mount: /data}\n"
    )
    spec.write_text(spec.read_text().replace("prepare:\n", f"{disks}prepare:\n"))
    project.write("scripts/last.sh", "#!/bin/sh\nprintf x > /etc/last-line\necho kept > /data/inner/here\n")
    result = project.apply()
    assert result.code == 0, result.text
    assert read(project.root / "gallery/tiny/1.0.0/data-0.vhd", "/here") == "kept\n"
    fstab = read(project.root / "gallery/tiny/1.0.0/os.vhd", "/etc/fstab").splitlines()
    assert [line.split()[1] for line in fstab if line.startswith("UUID=")] == ["/data", "/data/inner"]


def test_an_os_image_of_a_machine_with_data_disks_is_refused(project: Project) -> None:
    spec = project.root / "tiny.image.yaml"
    disks = "disks:\n  data: [{lun: 0, size: 1GiB, filesystem: ext4, mount: /data}]\n"
    spec.write_text(spec.read_text().replace("prepare:\n", f"{disks}prepare:\n"))
    project.write(
        "app.image.yaml",
        "name: app\nos: {family: linux, distribution: tiny, generation: 1}\nsource: {image: tiny}\n"
        "prepare:\n  - run: echo x > /data/important\ncapture: {kind: osImage}\n"
        "publish: {to: [{directory: {path: gallery}}]}\n",
    )
    result = project.apply()
    assert result.code != 0
    assert "data disk" in result.text
    assert project.versions("app") == []


@pytest.mark.parametrize(("generalize", "stays"), [("{}", 0), ("{skip: [random-seed]}", 1), ("{keep: [/boot/efi]}", 1)])
def test_the_random_seed_of_systemd_boot_stays_here(generalize: str, stays: int, project: Project) -> None:
    """It stands on the EFI system partition, which no step sees."""
    seed, size, start = b"a seed of this machine alone " * 4, 64 * MIB, 50 * MIB
    parts = [GptPartition(1, MIB, DISK - 2 * MIB, name="root"), GptPartition(2, start, 8 * MIB, TYPE_EFI_SYSTEM)]
    disk = project.root / "with-esp.raw"
    disk.write_bytes((project.root / "tiny.raw").read_bytes())
    os.truncate(disk, size)
    write_gpt(disk, size, parts)
    place = f"{disk}@@{start}"
    subprocess.run(["mformat", "-i", place, "-T", str(8 * MIB // 512), "::"], check=True)
    subprocess.run(["mmd", "-i", place, "::/loader"], check=True)
    project.write("seed", seed.decode())
    subprocess.run(["mcopy", "-i", place, project.root / "seed", "::/loader/random-seed"], check=True)
    text = (project.root / "tiny.image.yaml").read_text()
    text = text.replace("tiny.raw", disk.name) + f"generalize: {generalize}\n"
    project.write("tiny.image.yaml", text)
    result = project.apply()
    assert result.code == 0, result.text
    assert (project.root / "gallery/tiny/1.0.0/os.vhd").read_bytes().count(seed) == stays
