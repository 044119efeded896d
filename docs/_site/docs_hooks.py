"""What mkdocs calls: pages filled in, pages made, and the built site checked to fetch nothing from others."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "src")]

import docs_cli
import docs_notebooks
import docs_numbers

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

IMAGES = docs_numbers.ROOT / "experiments" / "results"
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload|icon|manifest))[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>"
    r"|url\([\"']?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*;",
    re.IGNORECASE,
)
"""What a browser would fetch from elsewhere as soon as a page is opened."""
FALLEN_APART = re.compile(r"<p>\s*\|")
"""A row of a table that is none any more: a blank line, or no line of dashes, stands before it."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Every verb of the command line is in the navigation."""
    pages = [path for path in docs_cli.pages() if not path.endswith("index.md")]
    for section in config.nav or []:
        for entry in next(iter(section.values())) if isinstance(section, dict) else []:
            if isinstance(entry, dict) and isinstance(entry.get("Command line"), list):
                entry["Command line"] += [{Path(path).stem: path} for path in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The command line's pages, the notebooks' and what draws their figures, and the pictures that are committed with
    the results.
    """
    from mkdocs.exceptions import PluginError
    from mkdocs.structure.files import File

    try:
        notebooks = docs_notebooks.pages()
    except docs_notebooks.NotebookError as error:
        raise PluginError(str(error)) from error
    for path, content in (docs_cli.pages() | notebooks).items():
        files.append(File.generated(config, path, content=content))
    files.append(File.generated(config, docs_notebooks.PLOTLY, content=docs_notebooks.plotly_script()))
    for picture in sorted(IMAGES.glob("*.png")):
        files.append(File.generated(config, f"images/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Numbers from committed files, on every page that is written by hand."""
    if page.file.generated_by is not None:
        return markdown
    try:
        return docs_numbers.fill(markdown, page.file.src_uri)
    except docs_numbers.PageError as error:
        from mkdocs.exceptions import PluginError

        raise PluginError(str(error)) from error


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """What notebooks showed, on their pages."""
    where = Path(page.file.src_uri)
    return docs_notebooks.with_outputs(html, where.stem) if where.parent.name == docs_notebooks.FOLDER else html


def on_post_build(config: MkDocsConfig) -> None:
    """The search index for pages that are opened from the file system; then refuse a site whose pages or styles would
    fetch anything from elsewhere, or in which a table fell apart.
    """
    from mkdocs.exceptions import PluginError

    index = Path(config.site_dir) / "search" / "search_index.json"
    index.with_suffix(".js").write_text(f"var __index = {index.read_text(encoding='utf-8')}", encoding="utf-8")
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css"):
            text = path.read_text(encoding="utf-8")
            found = FETCHED.search(text)
            if found:
                raise PluginError(f"{path.relative_to(config.site_dir)} fetches from elsewhere: {found[0][:200]}")
            row = FALLEN_APART.search(text)
            if row:
                around = text[row.start() : row.start() + 200]
                raise PluginError(f"{path.relative_to(config.site_dir)}: a table fell apart: {around}")
