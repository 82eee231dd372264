"""Writes the parts of the docs that come from the code: the annotated tree of `architecture.md`.

python docs/generate.py            # rewrite what is out of date
python docs/generate.py --check    # exit 1 if anything is
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "tidemill"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: begin -->", "<!-- tree: end -->"


def first_sentence(file: Path) -> str:
    """The first sentence of a module's docstring, on one line."""
    doc = ast.get_docstring(ast.parse(file.read_text())) or ""
    line = " ".join(doc.split("\n\n")[0].split())
    return line.split(". ")[0].rstrip(".")


def tree(folder: Path, depth: int = 0) -> list[str]:
    """The annotated lines of a package: its modules first, then the packages inside it."""
    modules = [file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py"]
    lines = [f"{'    ' * depth}{file.name:<{28 - 4 * depth}}{first_sentence(file)}" for file in modules]
    for package in sorted(p for p in folder.iterdir() if (p / "__init__.py").exists()):
        lines.append(f"{'    ' * depth}{package.name + '/':<{28 - 4 * depth}}{first_sentence(package / '__init__.py')}")
        lines += tree(package, depth + 1)
    return lines


def with_tree(page: str) -> str:
    """The page with its tree renewed."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    body = "\n".join(["tidemill/", *("    " + line for line in tree(PACKAGE))])
    return f"{before}{BEGIN}\n```text\n{body}\n```\n{END}{after}"


def main() -> int:
    """Renew the page, or say that it is out of date."""
    page = PAGE.read_text()
    renewed = with_tree(page)
    if page == renewed:
        return 0
    if "--check" in sys.argv[1:]:
        print("docs/architecture.md is out of date. Run: make docs")
        return 1
    PAGE.write_text(renewed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
