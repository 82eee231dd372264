from pathlib import Path

from tidemill.config.leaves import leaves
from tidemill.config.reference import reference_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"


def test_the_page_is_current() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == reference_page(), "run: python -m tidemill.config.reference > docs/reference/settings.md"


def test_the_page_has_every_setting() -> None:
    page = reference_page()
    for leaf in leaves():
        assert f"| `{leaf.name}` |" in page
        assert leaf.description in page
