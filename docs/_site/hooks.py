"""Pages that are made from the package itself, and links that fit the site. Used by mkdocs, see mkdocs.yml."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
from collections import defaultdict
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Files beside docs/ that are pages of the site.
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
KINDS = {
    "Jobs": lambda name, home: name.islower() and home.startswith("videomae.api"),
    "Models and processing": lambda name, home: home.startswith(("videomae.models", "videomae.processing")),
    "Videos, masks, checkpoints": lambda name, home: home.startswith(
        ("videomae.video", "videomae.core.masks", "videomae.checkpoint", "videomae.data", "videomae.api.checkpoint")
    ),
    "Results and recipes": lambda name, home: not home.startswith("videomae.core.errors"),
    "Errors": lambda name, home: True,
}


# Parts of the package as a person would call them.
AREAS = {
    "api": "Functions", "checkpoint": "Checkpoints", "cli": "Command line", "core": "Values, files, devices",
    "curation": "Scan, pack, bench-data", "data": "Loading", "datasets": "Data sets", "demo": "Demonstration",
    "evaluation": "Evaluation", "inference": "Predictions and features", "models": "Models",
    "processing": "Image processor", "recipes": "Settings", "report": "Reports", "retrieval": "Search",
    "training": "Training", "video": "Reading videos", "weights": "Weights and the hub",
}  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in PAGES.items()}
    made |= {"commands.md": commands(), "recipes.md": recipes(), "reference.md": reference(), "errors.md": errors()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to other pages as they are called here; of those to files that are no pages the text alone stays."""
    is_outside_docs = page.file.src_uri in PAGES.values()

    def target(found: re.Match[str]) -> str:
        mark, text, link = found.groups()
        path, hash_mark, anchor = link.partition("#")
        if "://" in link or not path:
            return found[0]
        inside = path.removeprefix("docs/") if is_outside_docs else path
        if (not is_outside_docs or inside != path) and files.get_file_from_path(inside) is not None:
            return f"{mark}[{text}]({inside}{hash_mark}{anchor})"
        name = path.removeprefix("../")
        if name in PAGES:
            return f"[{text}]({PAGES[name]}{hash_mark}{anchor})"
        if not (ROOT / name).exists():
            return found[0]  # mkdocs reports it
        return text

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", target, markdown)


def commands() -> str:
    """The help of every command, with all of its options."""
    from videomae.cli.main import COMMANDS, main

    os.environ["COLUMNS"] = "100"

    def help_of(*words: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            if main([*words, "--help-all"]) != 0:
                raise SystemExit(f"videomae {' '.join(words)} --help-all failed")
        return f"```text\n{out.getvalue().strip()}\n```\n"

    parts = ["# Commands\n\nAll options of every command, as `videomae COMMAND --help-all` prints them.\n"]
    for name, (about, _) in COMMANDS.items():
        parts.append(f"## {name}\n\n{about[0].upper()}{about[1:]}.\n\n{help_of(name)}")
        if name == "recipes":
            parts += [help_of(name, word) for word in ("show", "diff")]
    return "\n".join(parts)


def recipes() -> str:
    """All recipes, with what is published of them."""
    from videomae.recipes.registry import entries

    parts = ["# Recipes\n\n`--recipe NAME` takes all settings of one; `videomae recipes show NAME` prints them.\n"]
    for kind, title in (("pretrain", "Pre-training"), ("finetune", "Fine-tuning")):
        rows = ["| name | about | data set | size | batch | epochs | top-1 / top-5 |", "|---|---|---|---|---|---|---|"]
        for entry in entries():
            if entry.kind != kind:
                continue
            recipe = entry.make()
            accuracy = "" if entry.top1 is None else f"{entry.top1:.1f} / {entry.top5:.1f} %"
            cells = (f"`{entry.name}`", entry.about, entry.data_set, recipe.size, recipe.batch_size, recipe.epochs)
            rows.append("| " + " | ".join(str(cell or "") for cell in (*cells, accuracy)) + " |")
        parts.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def reference() -> str:
    """Every public name, from its docstring."""
    import videomae

    sections: dict[str, list[str]] = {title: [] for title in KINDS}
    for name in sorted(videomae.__all__, key=str.lower):
        home = videomae._HOMES.get(name)
        if home is not None:
            title = next(title for title, fits in KINDS.items() if fits(name, home))
            sections[title].append(f"::: {home}.{name}\n")
    head = "# Python\n\nEvery name that `import videomae` gives; [In Python](python.md) shows how they go together.\n"
    return head + "".join(f"\n## {title}\n\n" + "\n".join(names) for title, names in sections.items())


def errors() -> str:
    """Every error that a person's input can cause, by where it comes from: what it says, expects and advises."""
    found: dict[str, dict[tuple[str, str, str], None]] = defaultdict(dict)
    for path in sorted((ROOT / "src/videomae").rglob("*.py")):
        area = path.relative_to(ROOT / "src/videomae").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and re.search(r"Error$", ast.unparse(node.func)):
                keywords = {keyword.arg: keyword.value for keyword in node.keywords}
                if node.args and {"expected", "hint"} <= keywords.keys():
                    row = tuple(template(value) for value in (node.args[0], keywords["expected"], keywords["hint"]))
                    found[area][row] = None  # type: ignore[index]
    parts = [
        "# Errors\n\nWhat is wrong with an input is said in one line: *value*: expected *this*; *do that*. Below are"
        " all of them, by the part of the package that raises them; … stands for what differs. Search this page for a"
        " word of yours.\n"
    ]
    for area, rows in found.items():
        lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
        parts.append(
            f"## {AREAS.get(area, area)}\n\n| it says | it expected | what to do |\n|---|---|---|\n"
            + "\n".join(lines)
            + "\n"
        )
    return "\n".join(parts)


def template(node: ast.expr) -> str:
    """The text of a string; … in the place of what is put into it."""
    if isinstance(node, ast.Constant):
        text = str(node.value)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    elif isinstance(node, ast.IfExp):
        return f"{template(node.body)}, or: {template(node.orelse)}"
    else:
        text = "…"
    return re.sub(r"([<>*_`\[\]])", r"\\\1", text.replace("\n", " "))


def on_pre_build(config: MkDocsConfig) -> None:
    """Load nothing from elsewhere: not the script that lets pages be searched that no server gives, either."""
    config.extra["polyfills"] = []
