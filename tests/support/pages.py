"""The code blocks of the documentation, extracted and run.

All blocks are parsed, and run unless a comment precedes the block, `<!-- not run: reason -->`, or
is on the page, `<!-- nothing here is run: reason -->`.
"""

import contextlib
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from keras_s2s.cli import main
from keras_s2s.cli.parser import parse
from keras_s2s.client import __main__ as client

ROOT = Path(__file__).parents[2]
BLOCK_MARK = re.compile(r"<!-- not run: (.+) -->")
PAGE_MARK = re.compile(r"<!-- nothing here is run: (.+) -->")

# Training runs of a page with all its options, shortened to seconds.
SHORT = (
    *("--epochs=1", "--embed-size=8", "--num-hiddens=8", "--num-layers=1", "--batch-size=64"),
    "--precision=float32",
)


class Block(NamedTuple):
    """A code block; `reason` is why it is not run, or empty."""

    language: str
    code: str
    line: int
    reason: str | None

    @property
    def runs(self) -> bool:
        return self.language in ("python", "sh")


def tokens(text: str) -> list[Token]:
    """Parse a page with markdown-it."""
    return MarkdownIt().enable("table").parse(text)


def links(text: str) -> list[str]:
    """Return the targets of the links and images of a page."""
    return [
        str(child.attrs["href" if child.type == "link_open" else "src"])
        for token in tokens(text)
        for child in token.children or []
        if child.type in ("link_open", "image")
    ]


def headings(text: str) -> list[tuple[int, str]]:
    """Return level and text of the headings of a page."""
    page = tokens(text)
    return [
        (int(token.tag[1]), following.content)
        for token, following in itertools.pairwise(page)
        if token.type == "heading_open"
    ]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page."""
    text = path.read_text(encoding="utf-8")
    for included in re.findall(r'^--8<-- "(.+)"$', text, re.MULTILINE):
        text += (ROOT / included).read_text(encoding="utf-8")
    plain = (re.sub(r"[^\w\s-]", "", title.lower()) for _, title in headings(text))
    return {re.sub(r"[\s-]+", "-", title.strip()) for title in plain}


def blocks(path: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    result: list[Block] = []
    page_reason = block_reason = None
    for token in tokens(path.read_text(encoding="utf-8")):
        if token.type == "html_block":
            if match := PAGE_MARK.search(token.content):
                page_reason = match[1]
            if match := BLOCK_MARK.search(token.content):
                block_reason = match[1]
            continue
        if token.type == "fence" and token.map:
            language = token.info.partition(" ")[0]
            reason = block_reason or page_reason
            result.append(Block(language, token.content, token.map[0] + 1, reason))
        block_reason = None
    return result


def commands(code: str) -> Iterator[str]:
    """Yield the commands of a block; backslashes and quotes continue lines."""
    command = ""
    for line in code.replace("\\\n", " ").splitlines():
        command += line
        try:
            arguments = _arguments(command)
        except ValueError:  # an unclosed quotation
            command += "\n"
            continue
        if arguments:
            yield command
        command = ""
    assert not command, f"unclosed quotation: {command}"


def _arguments(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def _without_redirections(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    plain, redirections, remaining = [], {}, iter(arguments)
    for argument in remaining:
        if argument in ("<", ">"):
            redirections[argument] = next(remaining)
        else:
            plain.append(argument)
    return plain, redirections


def check(command: str) -> None:
    """Check the syntax of a command; knows those of this repository."""
    arguments, _ = _without_redirections(_arguments(command))
    if arguments[0] == "keras-s2s":
        parse(arguments[1:])
    elif arguments[:3] == ["python", "-m", "keras_s2s.client"]:
        client._parser().parse_args(arguments[3:])
    elif arguments[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in (word for word in arguments[1:] if "=" not in word):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"
    elif arguments[:2] == ["pip", "install"]:
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        for extra in re.findall(r"\[([\w,]+)\]", command):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"no extra {extra}"
    elif arguments[0] == "python" and arguments[1].endswith(".py"):
        assert any((ROOT / folder / arguments[1]).is_file() for folder in ("", "export"))


def run(command: str, folder: Path) -> None:
    """Run a command in the current folder; those of the package in this process."""
    arguments, redirections = _without_redirections(_arguments(command))
    check(command)
    if arguments[0] in ("make", "pip"):
        return
    if arguments[0] != "keras-s2s":
        subprocess.run(["bash", "-euc", command], cwd=folder, check=True)
        return
    if arguments[1] == "train":
        arguments += ["--epochs=2"] if "--resume" in arguments else SHORT
    with contextlib.ExitStack() as stack:
        if "<" in redirections:
            stack.enter_context(_standard_input(folder / redirections["<"]))
        if ">" in redirections:
            output = stack.enter_context(open(folder / redirections[">"], "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(output))
        status = main(arguments[1:])
    assert status == 0, f"{command}: exit status {status}"


@contextlib.contextmanager
def _standard_input(path: Path) -> Iterator[None]:
    previous = sys.stdin
    with open(path, encoding="utf-8") as sys.stdin:
        try:
            yield
        finally:
            sys.stdin = previous


def check_page(path: Path) -> None:
    """Check the syntax of all blocks of a page."""
    for block in blocks(path):
        where = f"{path.relative_to(ROOT)}, line {block.line}"
        if block.language == "python":
            compile(block.code, where, "exec")
        elif block.language == "sh":
            for command in commands(block.code):
                print(f"{where}: {command}")
                check(command)
        elif block.language in ("yaml", "json"):
            yaml.safe_load(block.code)  # YAML includes JSON
        else:
            assert block.language in ("", "text"), f"{where}: {block.language}?"


def run_page(path: Path, folder: Path) -> None:
    """Run the blocks of a page in order in a folder, as the current folder."""
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(path):
        if block.reason is not None or not block.runs:
            continue
        if block.language == "python":
            # Leading empty lines, so that line numbers in tracebacks are those of the page.
            exec(compile("\n" * block.line + block.code, os.fspath(path), "exec"), names)
        else:
            for command in commands(block.code):
                print(f"{path.relative_to(ROOT)}, line {block.line}: {command}")
                run(command, folder)
