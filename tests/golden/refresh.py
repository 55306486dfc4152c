"""`python -m tests.golden.refresh` writes the renderings anew. Look at the difference before you commit it."""

from __future__ import annotations

from pathlib import Path

from tests.golden.plans import PLANS

FOLDER = Path(__file__).parent


def main() -> None:
    for name, make in PLANS.items():
        for suffix, text in make().renderings().items():
            (FOLDER / f"{name}.{suffix}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
