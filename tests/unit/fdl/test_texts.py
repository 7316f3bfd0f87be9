# SPDX-License-Identifier: Apache-2.0
"""How texts of FDL are read: scalars as written, names given once, the position of every problem."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from parts.fdl_cases import file_of, full, minimal, spots, unhurried
from parts.fdl_texts import BAD, GOOD, PLAIN, Bad, Good, text_of

from oscar_fedcloud.catalogue.matching import filter_rule
from oscar_fedcloud.fdl import (
    FILE,
    SERVICE,
    Fdl,
    FdlError,
    FdlProblem,
    Service,
    Source,
    Written,
    find_loops,
    parse_fdl,
    parse_service,
    read_json,
    read_text,
    resolve,
    to_document,
)
from oscar_fedcloud.fdl_text import events, read_source


def python_events(text: str) -> Any:
    """The events of PyYAML's own parser, for machines without its C extension."""
    return yaml.parse(text, Loader=yaml.SafeLoader)


def read(text: str | bytes, parse: Any = events) -> Fdl:
    source = read_text(text, parse, "fdl.yml")
    try:
        return parse_fdl(resolve(FILE, source.data), rules=(filter_rule,))
    except FdlError as error:
        raise FdlError(source.placed(error.problems)) from None


def problem_of(text: str | bytes, parse: Any = events) -> FdlProblem:
    with pytest.raises(FdlError) as caught:
        read(text, parse)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("parse", [events, python_events])
@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_scalars_are_what_is_written(case: Good, parse: Any) -> None:
    document = to_document(read(text_of(case.lines), parse).services[0])
    assert case.found(document) == case.document


@pytest.mark.parametrize("parse", [events, python_events])
@pytest.mark.parametrize("case", [case for case in BAD if case.name != "a loop"], ids=lambda case: case.name)
def test_each_problem_has_its_position(case: Bad, parse: Any) -> None:
    problem = problem_of(case.text, parse)
    assert (problem.path, problem.file, problem.line) == (case.path, "fdl.yml", case.line)
    assert case.words in str(problem)
    if parse is events or "YAML" not in problem.message:  # the two parsers find syntax errors at different characters
        assert problem.column == case.column
        assert str(problem).startswith(f"fdl.yml:{case.line}:{case.column}: {case.path}: ")


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b""], ids=["BOM", "no BOM"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_line_ends_and_byte_order_marks_move_nothing(content: bytes, end: str) -> None:
    problem = problem_of(content + text_of("vo: é\nmemry: 1Gi").replace("\n", end).encode())
    assert (problem.line, problem.column) == (9, 7)
    assert read(content + text_of("vo: é").replace("\n", end).encode()).services[0].vo == "é"


@pytest.mark.parametrize(
    ("content", "words", "line"),
    [
        (b"a: b\nc: \xff", "not text in UTF-8", 2),
        ("a: é".encode("utf-16"), "not text in UTF-8", 1),
        (b"a: b\0", "'\\x00'", 1),
        (b"functions: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n", "only a module of Ansible can decrypt it", 1),
    ],
)
def test_what_is_no_text_is_one_problem(content: bytes, words: str, line: int) -> None:
    problem = problem_of(content)
    assert words in str(problem)
    assert problem.line == line


@pytest.mark.parametrize("parse", [events, python_events])
def test_what_is_not_closed_is_told_with_its_beginning(parse: Any) -> None:
    assert "that begins in line 2)" in problem_of('a: b\nc: "unclosed\n\n', parse).message


def test_aliases_that_grow_without_bound_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert "aliases make too much of it" in problem_of("\n".join(lines)).message
    assert "nested more than" in problem_of("a: " + "[" * 5000).message
    deep = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200)]
    assert "nested more than" in problem_of("\n".join(deep)).message


def test_all_names_that_are_given_twice_are_told_in_order() -> None:
    with pytest.raises(FdlError) as caught:
        read(text_of("memory: 1Gi\nmemory: 1Gi\nenvironment: {variables: {A: 1, A: 2}}\nalpine: true\nalpine: true"))
    assert [problem.line for problem in caught.value.problems] == [9, 10, 12]


def test_what_is_merged_stands_behind_what_is_said() -> None:
    merged = "environment:\n  variables: {<<: [{A: 1, B: 1}, {A: 2, C: 2}], C: 3}"
    assert read(text_of(merged)).services[0].environment.variables == {"A": "1", "B": "1", "C": "3"}
    assert "is no mapping" in problem_of(text_of("labels: {<<: [a]}")).message
    assert "given twice" in problem_of(text_of("labels: {<<: {a: b, a: c}}")).message


def test_old_names_of_fields_have_the_types_of_the_new() -> None:
    lines = "replicas:\n- {type: endpoint, url: 'https://a', headers: {X: 1.10}}\nrescheduler_threshold: 5"
    service = read(text_of(lines)).services[0]
    assert service.federation is not None
    assert service.federation.members[0].headers == {"X": "1.10"}
    assert service.federation.rescheduler_threshold == 5


def test_functions_of_scar_have_the_values_of_the_core_schema() -> None:
    text = "functions:\n  aws:\n  - lambda: {name: f, memory: 1024, x: yes, y: 0755, z: 1.10, n: ~}"
    assert read(text).aws[0]["lambda"] == {"name": "f", "memory": 1024, "x": "yes", "y": 755, "z": 1.1, "n": None}


def test_json_is_read_the_same() -> None:
    service = '{"name": "a", "image": "b", "script": "c\\ud83d\\ude00\\n",\n\t"labels": {"x": 1.10}}'
    text = f'{{"functions": {{"oscar": [{{"here": {service}}}]}}}}'
    assert read(text).services[0].labels == {"x": "1.10"}
    assert read(text).services[0].script == "c😀\n"
    assert problem_of(text.replace('"labels"', '"name": "d", "labels"')).message.endswith("in line 1 and in line 2")


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ('{"a": 1', 1, 8, "',' is expected here"),
        ('{"a": 1,\n }', 2, 2, "a name in double quotes"),
        ("[1,]", 1, 4, "a value is expected"),
        ("[1] 2", 1, 5, "something follows"),
        ('{"a"; 1}', 1, 5, "':' is expected"),
        ('["a\n"]', 1, 4, "control character"),
        ("[01]", 1, 3, "',' is expected"),
        ("[NaN]", 1, 2, "a value is expected"),
        ("", 1, 1, "a value is expected"),
        ("[" * 5000, 1, 102, "nested more than 100"),
        ('{"a": {"b": 1, "b": 2}}', 1, 16, "b is given twice, in line 1 and in line 1"),
    ],
)
def test_what_is_wrong_with_json_has_its_position(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(FdlError) as caught:
        read_json(text, "x.json")
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (line, column)
    assert words in problem.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@unhurried
@given(JSON, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_all_of_json_is_read(value: Any, indent: Any, ascii_only: bool) -> None:
    if isinstance(value, str):
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert resolve(None, read_json(json.dumps(value, indent=indent, ensure_ascii=ascii_only)).data) == value


PLAIN_TEXT = st.from_regex(r"\A[-+.:_~=<>a-zA-Z0-9][-+.:_~=<>a-zA-Z0-9,/ ]{0,20}\Z").map(str.strip)


def is_plain(text: str) -> bool:
    """Whether a text can stand without quotes."""
    if not text or text.startswith(("- ", ": ", "? ", "---")) or text in ("-", ":") or ": " in text or " #" in text:
        return False
    return not text.startswith((">", "|")) and not text.endswith(":")


@unhurried
@given(PLAIN_TEXT.filter(is_plain))
def test_any_plain_scalar_comes_out_as_written(text: str) -> None:
    lines = f"environment:\n  variables:\n    A: {text}\n  secrets:\n    B: {text}\nannotations:\n  a: {text}"
    service = read(text_of(lines)).services[0]
    assert service.environment.variables == {"A": text}
    assert service.environment.secrets == {"B": text}
    assert service.annotations == {"a": text}


# YAML 1.1 has three more line breaks; the emitter writes them as they are, where they fold.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x85\u2028\u2029"), max_size=40)


@unhurried
@given(TEXT, st.sampled_from(["'", '"', "|", ">", None]), st.integers(10, 80), st.booleans())
def test_any_text_comes_out_in_any_style(text: str, style: str | None, width: int, unicode: bool) -> None:
    data = {"environment": {"variables": {"A": text}}}
    dumped = yaml.safe_dump(data, default_style=style, width=width, allow_unicode=unicode, default_flow_style=False)
    written = read_text(dumped, events).data
    expected = yaml.safe_load(dumped)["environment"]["variables"]["A"]
    if isinstance(expected, str):  # what the emitter leaves without quotes may be something else to YAML 1.1
        assert resolve(SERVICE, written)["environment"]["variables"]["A"] == expected == text


@unhurried
@given(st.data())
def test_any_name_that_is_given_twice_is_refused_with_both_lines(data: st.DataObject) -> None:
    lines = yaml.safe_dump(file_of(full(script="echo")), sort_keys=False, width=10_000).splitlines()
    names = [number for number, line in enumerate(lines) if re.match(r" *(- )?[a-zA-Z_0-9-]+:( |$)", line)]
    number = data.draw(st.sampled_from(names))
    line = lines[number].replace("- ", "  ")
    indent, name = re.match(r"( *)([^:]+)", line).groups()  # type: ignore[union-attr]
    last = number + 1
    while last < len(lines) and re.match(rf"{indent}( |- )", lines[last]):
        last += 1
    text = "\n".join([*lines[:last], f"{indent}{name}: x", *lines[last:]])
    with pytest.raises(FdlError) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (last + 1, len(indent) + 1)
    assert problem.message == f"{name} is given twice, in line {number + 1} and in line {last + 1}"


@unhurried
@given(st.data(), st.booleans(), st.booleans())
def test_every_path_has_the_position_of_its_name(data: st.DataObject, as_json: bool, flow: bool) -> None:
    document = file_of(full(), minimal(name="other"))
    text = json.dumps(document, indent=1) if as_json else yaml.safe_dump(document, default_flow_style=flow, width=60)
    source = read_source(text)
    places = source.places()
    assert len(places) == len(list(spots(document)))
    path = data.draw(st.sampled_from(sorted(places)))
    line, column = places[path]
    rest = text.splitlines()[line - 1][column - 1 :]
    name = re.search(r'(?:\["([^"]+)"\]|([\w-]+))$', path)
    if name is not None:  # else it is a member of a list
        assert rest.lstrip("\"'").startswith(name[1] or name[2])
    assert source.locate(path) == (line, column)
    assert source.locate(f"{path}.no[1].such") == (line, column)


ODD = (
    *PLAIN,
    "9" * 5000,
    "1e999",
    "0x" + "f" * 80,
    "-1",
    "[]",
    "{}",
    "[1.10, ~]",
    "{a: 1.10}",
    '"\\0"',
    '"\\e[31m"',
    "''",
    "!!float .inf",
)


@unhurried
@given(st.data())
def test_whatever_stands_in_a_field_is_taken_or_is_a_problem_of_that_field(data: st.DataObject) -> None:
    document = file_of(full())
    place = data.draw(st.sampled_from([spot for spot in spots(document) if len(spot) > 4]))
    odd = data.draw(st.sampled_from(ODD))
    holder: Any = document
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] = "PLACEHOLDER"
    text = yaml.safe_dump(document, width=10_000).replace("PLACEHOLDER", odd)
    try:
        service = read(text).services[0]
    except FdlError as error:
        problems = error.problems
    else:
        assert isinstance(service, Service)
        return
    line = next(number for number, line in enumerate(text.splitlines(), 1) if line.rstrip().endswith(odd))
    assert all(problem.line > 0 and str(problem).isprintable() for problem in problems)
    assert place[4] in ("input", "output", "environment", "federation", "clusters", "storage_providers", "name") or (
        line in [problem.line for problem in problems] or any(str(place[4]) in problem.path for problem in problems)
    )


def test_errors_show_no_secret_and_nothing_that_moves_a_terminal() -> None:
    for text in ("{A: !!int s3cr3t}", "{A: !x s3cr3t}", "{A: s3cr3t, A: s3cr3t}", "s3cr3t", "[s3cr3t]"):
        assert "s3cr3t" not in str(problem_of(text_of(f"environment: {{secrets: {text}}}")))
    for text in ('"\\e[31m": x', 'labels: {"\\e]0": x}', 'labels: {"\\e]0": x, "\\e]0": x}', 'alpine: "\\e"'):
        assert str(problem_of(text_of(text))).isprintable()


@unhurried
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_document_or_a_problem(content: bytes) -> None:
    try:
        source = read_source(content, "x")
    except FdlError as error:
        found = error.problems
    else:
        assert isinstance(source, Source)
        return
    assert [problem for problem in found if problem.line < 1 or problem.column < 1] == []


def test_the_core_schema() -> None:
    values = {"1": 1, "-1": -1, "0o17": 15, "0x1f": 31, "1.5": 1.5, "1e3": 1000.0, "true": True, "~": None, "": None}
    assert {text: Written(text).value() for text in values} == values
    for text in ("yes", "1_0", "1:30", "0b1", "0x", "1e", ".", "-", "+.", "TRue", "9" * 65, "2024-01-01"):
        assert Written(text).value() == text


def test_loops_name_services() -> None:
    (case,) = [case for case in BAD if case.name == "a loop"]
    fdl = read(case.text)
    assert fdl.places == (case.path.removesuffix(".output"),)
    assert [loop.breakable for loop in find_loops(fdl.services)] == [False]


def test_limits_of_what_a_job_can_be_given() -> None:
    name = "V" * 255
    room = 127 * 1024 - len(name) - 2
    parse_service(minimal(environment={"variables": {name: "x" * room}}))
    for fields, path in (
        ({"environment": {"variables": {name: "x" * (room + 1)}}}, "environment"),
        ({"environment": {"variables": {name: "x" * 66_000}, "secrets": {"B": "é" * 33_000}}}, "environment"),
        ({"environment": {"secrets": {name + "V": "x"}}}, f"environment.secrets.{name}V"),
        ({"annotations": {"a": "x" * 131_072}}, "annotations"),
        ({"script": "echo é\n" * 100_000}, "script"),
    ):
        with pytest.raises(FdlError) as caught:
            parse_service(minimal(**fields), "here")
        assert [problem.path for problem in caught.value.problems] == [f"here.{path}"]
