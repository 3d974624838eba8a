"""The code on the pages of the documentation: found, and run as a reader would.

A block is run unless a comment stands before it, `<!-- not run: reason -->`, or at the top of its
page, `<!-- nothing here is run: reason -->`. What is not run is at least parsed.
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

# A training on a page is run with all that the page says, and is over in seconds.
SHORT = (
    *("--epochs=1", "--embed-size=8", "--num-hiddens=8", "--num-layers=1", "--batch-size=64"),
    "--precision=float32",
)


class Block(NamedTuple):
    """A block of code; `reason` is why it is not run, if it is not."""

    language: str
    code: str
    line: int
    reason: str | None

    @property
    def runs(self) -> bool:
        return self.language in ("python", "sh")


def tokens(text: str) -> list[Token]:
    """A page as markdown-it reads it."""
    return MarkdownIt().enable("table").parse(text)


def links(text: str) -> list[str]:
    """What the links and images of a page point to."""
    return [
        str(child.attrs["href" if child.type == "link_open" else "src"])
        for token in tokens(text)
        for child in token.children or []
        if child.type in ("link_open", "image")
    ]


def headings(text: str) -> list[tuple[int, str]]:
    """The headings of a page: level and text."""
    page = tokens(text)
    return [
        (int(token.tag[1]), following.content)
        for token, following in itertools.pairwise(page)
        if token.type == "heading_open"
    ]


def anchors(path: Path) -> set[str]:
    """What links to a page may have after `#`."""
    text = path.read_text(encoding="utf-8")
    for included in re.findall(r'^--8<-- "(.+)"$', text, re.MULTILINE):
        text += (ROOT / included).read_text(encoding="utf-8")
    plain = (re.sub(r"[^\w\s-]", "", title.lower()) for _, title in headings(text))
    return {re.sub(r"[\s-]+", "-", title.strip()) for title in plain}


def blocks(path: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found: list[Block] = []
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
            found.append(Block(language, token.content, token.map[0] + 1, reason))
        block_reason = None
    return found


def commands(code: str) -> Iterator[str]:
    """The commands of a block; one may go over several lines, after a backslash or in quotes."""
    command = ""
    for line in code.replace("\\\n", " ").splitlines():
        command += line
        try:
            arguments = _arguments(command)
        except ValueError:  # a quotation that is still open
            command += "\n"
            continue
        if arguments:
            yield command
        command = ""
    assert not command, f"a quotation without an end: {command}"


def _arguments(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def _without_redirections(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    plain, places, left = [], {}, iter(arguments)
    for argument in left:
        if argument in ("<", ">"):
            places[argument] = next(left)
        else:
            plain.append(argument)
    return plain, places


def check(command: str) -> None:
    """Whether a command would be understood; knows those of this repository."""
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
    """Runs a command of a page in the current folder, those of the package in this process."""
    arguments, places = _without_redirections(_arguments(command))
    check(command)
    if arguments[0] in ("make", "pip"):
        return
    if arguments[0] != "keras-s2s":
        subprocess.run(["bash", "-euc", command], cwd=folder, check=True)
        return
    if arguments[1] == "train":
        arguments += ["--epochs=2"] if "--resume" in arguments else SHORT
    with contextlib.ExitStack() as stack:
        if "<" in places:
            stack.enter_context(_standard_input(folder / places["<"]))
        if ">" in places:
            output = stack.enter_context(open(folder / places[">"], "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(output))
        status = main(arguments[1:])
    assert status == 0, f"{command}: exit status {status}"


@contextlib.contextmanager
def _standard_input(path: Path) -> Iterator[None]:
    before = sys.stdin
    with open(path, encoding="utf-8") as sys.stdin:
        try:
            yield
        finally:
            sys.stdin = before


def check_page(path: Path) -> None:
    """Whether all blocks of a page would be understood."""
    for block in blocks(path):
        where = f"{path.relative_to(ROOT)}, line {block.line}"
        if block.language == "python":
            compile(block.code, where, "exec")
        elif block.language == "sh":
            for command in commands(block.code):
                print(f"{where}: {command}")
                check(command)
        elif block.language in ("yaml", "json"):
            yaml.safe_load(block.code)  # which reads JSON too
        else:
            assert block.language in ("", "text"), f"{where}: {block.language}?"


def run_page(path: Path, folder: Path) -> None:
    """Runs the blocks of a page one after the other in a folder, the current one."""
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(path):
        if block.reason is not None or not block.runs:
            continue
        if block.language == "python":
            # Empty lines before it, so that a traceback names the line of the page.
            exec(compile("\n" * block.line + block.code, os.fspath(path), "exec"), names)
        else:
            for command in commands(block.code):
                print(f"{path.relative_to(ROOT)}, line {block.line}: {command}")
                run(command, folder)
