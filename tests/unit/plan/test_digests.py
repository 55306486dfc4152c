from dataclasses import replace

import pytest

from builder.errors import BuildError, Place
from builder.model.steps import FileInput, Preview, Stage, Step
from builder.plan.digests import chain, image_digest
from tests.unit.plan.world import registry

BASE = Step(Stage.PREPARE, "source.bootstrap", "start", {"suite": "bookworm"})
SCRIPT = Step(Stage.PREPARE, "script", "tidy", {"path": "tidy.sh"}, files=(FileInput("tidy.sh", "ab" * 32, 9, "echo"),))
CAPTURE = Step(Stage.CAPTURE, "capture", "capture", {})
TEST = Step(Stage.TEST, "provision", "test", {}, identity=False)
STEPS = [BASE, SCRIPT, CAPTURE, TEST]


def digests(steps, **versions):
    return [step.digest for step in chain(steps, registry(**versions))]


def changed_from(steps, **versions):
    """The numbers (from 0) of the steps whose digest is another."""
    before = digests(STEPS)
    return [index for index, digest in enumerate(digests(steps, **versions)) if digest != before[index]]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (replace(SCRIPT, inputs={"path": "other.sh"}), [1, 2, 3]),
        (replace(SCRIPT, files=(FileInput("tidy.sh", "cd" * 32, 9),)), [1, 2, 3]),
        (replace(SCRIPT, files=(FileInput("other.sh", "ab" * 32, 9),)), [1, 2, 3]),
        (replace(SCRIPT, title="another title"), []),
        (replace(SCRIPT, timeout=60.0), []),
        (replace(SCRIPT, place=Place("web.yaml", 9), places={"path": Place("web.yaml", 9)}), []),
        (replace(SCRIPT, preview=Preview.OPAQUE), []),
        (replace(SCRIPT, files=(replace(SCRIPT.files[0], text=None),)), []),
    ],
)
def test_what_a_digest_covers(changed, expected):
    assert changed_from([BASE, changed, CAPTURE, TEST]) == expected


def test_another_implementation_version_is_another_result():
    assert changed_from(STEPS, script=2) == [1, 2, 3]


def test_a_test_is_no_part_of_the_image():
    more = [BASE, SCRIPT, CAPTURE, TEST, replace(TEST, kind="run", inputs={"command": "true"})]
    assert image_digest(chain(more, registry())) == image_digest(chain(STEPS, registry())) == digests(STEPS)[2]
    assert digests([BASE, SCRIPT, TEST, CAPTURE])[3] == digests(STEPS)[2]


def test_steps_are_numbered_from_one_and_order_matters():
    assert [step.index for step in chain(STEPS, registry())] == [1, 2, 3, 4]
    assert image_digest(chain([SCRIPT, BASE], registry())) != image_digest(chain([BASE, SCRIPT], registry()))


def test_files_count_in_any_order():
    files = (FileInput("a", "aa" * 32, 1), FileInput("b", "bb" * 32, 1))
    assert digests([replace(SCRIPT, files=files)]) == digests([replace(SCRIPT, files=files[::-1])])


def test_a_kind_that_is_unknown_is_refused():
    with pytest.raises(BuildError) as caught:
        chain([replace(BASE, kind="magic")], registry())
    assert caught.value.code == "unknown-kind"


def test_no_steps_have_no_digest():
    assert image_digest([]) == ""
