"""What README and docs name is there: files, sections, code and tests."""

import ast
import re
from pathlib import Path

import pytest

from ride_mm.utils import resource_root

ROOT = resource_root()
PAGES = sorted(
    [ROOT / 'README.md', *ROOT.glob('docs/*.md'), *ROOT.glob('configs/*/*.md')]
)
LINK = re.compile(r'\[[^]]*\]\(([^)\s]+)\)')
NAMED = re.compile(r'\b([\w/.-]+\.py)::([\w.]+)')
COMMAND = re.compile(r'^(?:python|bash) (\S+)', re.MULTILINE)


def each_page(function):
    names = [page.relative_to(ROOT).as_posix() for page in PAGES]
    return pytest.mark.parametrize('page', PAGES, ids=names)(function)


def anchors(page: Path) -> set[str]:
    """The sections of a page, as GitHub names them."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r'^#+ (.+)$', text, flags=re.MULTILINE)
    kept = (re.sub(r'[^\w\- ]', '', title.lower()) for title in titles)
    return {title.strip().replace(' ', '-') for title in kept}


def definitions(path: Path) -> set[str]:
    """Functions and classes of a file, methods as ``Class.method``."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        for inner in getattr(node, 'body', []):
            if isinstance(node, ast.ClassDef) and isinstance(inner, ast.FunctionDef):
                found.add(f'{node.name}.{inner.name}')
    return found


@each_page
def test_links_lead_somewhere(page):
    targets = [t for t in LINK.findall(page.read_text()) if '://' not in t]
    for target in targets:
        name, _, section = target.partition('#')
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not section or section in anchors(path), target


@each_page
def test_code_and_tests_that_are_named_exist(page):
    for name, inside in NAMED.findall(page.read_text()):
        assert inside in definitions(ROOT / name), f'{name}::{inside}'


@each_page
def test_tools_that_are_called_exist(page):
    for program in COMMAND.findall(page.read_text()):
        if program.startswith('tools/'):
            assert (ROOT / program).is_file(), program


def test_the_map_has_code_a_test_and_a_config_in_each_row():
    text = (ROOT / 'README.md').read_text()
    table = text[text.index('| equation |') :].split('\n\n')[0]
    rows = [line.split(' | ') for line in table.splitlines()[2:]]
    assert len(rows) > 20
    for _, code, test, config in rows:
        assert NAMED.search(code) and 'ride_mm/' in code
        assert all(name.startswith('tests/') for name, _ in NAMED.findall(test))
        assert NAMED.search(test) and LINK.search(config)
