"""Hooks of MkDocs: navigation, pages from outside of `docs/`, and links that stay right in the site.

The navigation is `docs/README.md`: a section for each of its headings, a page for each row of its tables. A page that
no row names fails the build.

The documents are written to be read in the repository, where a link may lead to any file of it. In the site a link to a
page leads to that page, and one to another file becomes its path as text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

OUTSIDE = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "pocketkube" / "README.md",
    *sorted((ROOT / "pocketkube" / "docs").glob("*.md")),
    ROOT / "pytest-muster" / "README.md",
    *sorted((ROOT / "pytest-muster" / "docs").glob("*.md")),
]

_LINK = re.compile(r"\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<path>[\w./-]+)(?P<fragment>#[^)\s]*)?\)")
_ROW = re.compile(r"^\| \[([^\]]+)\]\(([\w./-]+)\)", re.MULTILINE)
_LOADED = re.compile(
    r"""<(?:script|img|iframe)\b[^>]*\bsrc=["']?(https?:[^"'> ]+)|<link\b[^>]*\bhref=["']?(https?:[^"'> ]+)"""
)
_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation."""
    sections: list[dict[str, Any]] = []
    for part in re.split(r"^## ", (ROOT / "docs" / "README.md").read_text(), flags=re.MULTILINE)[1:]:
        rows = _ROW.findall(part)
        pages: list[Any] = []
        for title, path in rows:
            pages.append({title: _section(path) if path.endswith("/") else _uri(path)})
        sections.append({part.partition("\n")[0]: pages})
    config.nav = ["README.md", *sections]
    return config


def _section(path: str) -> list[str]:
    return [_uri(f"{path}{page.name}") for page in sorted((ROOT / "docs" / path).glob("*.md"))]


def _uri(path: str) -> Any:
    uri = posixpath.normpath(path)
    if not uri.startswith("../"):
        return uri
    uri = uri.removeprefix("../")
    more = sorted((ROOT / uri).parent.glob("docs/*.md")) if "/" in uri else []
    return [uri, *(page.relative_to(ROOT).as_posix() for page in more)] if more else uri


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of `docs/`, under their path in the repository."""
    for path in OUTSIDE:
        if path.exists():
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make the links of a page lead to the pages of the site."""
    here = Path(str(page.file.abs_src_path)).parent
    uris = {str(Path(str(file.abs_src_path)).resolve()): file.src_uri for file in files if file.abs_src_path}

    def link(match: re.Match[str]) -> str:
        target = (here / match["path"]).resolve()
        if target.is_dir():
            target /= "README.md"
        uri = uris.get(str(target))
        if uri is None:
            return f"{match['text']} (`{(here / match['path']).resolve().relative_to(ROOT)}`)"
        relative = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        return f"[{match['text']}]({relative}{match['fragment'] or ''})"

    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(link, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(link, markdown[end:])])


def on_post_build(config: MkDocsConfig) -> None:
    """Require that the site needs no network. Raises PluginError."""
    for page in sorted(Path(config.site_dir).rglob("*.html")):
        if loaded := _LOADED.search(page.read_text()):
            raise PluginError(f"{page.name} loads {loaded[1] or loaded[2]}, so it needs a network")
