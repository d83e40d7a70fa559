"""
The graph of a release: what it was made of, who looked at it, and where it went.

Edges run with time: from what was there first to what came of it. Every node says why it can be believed: the release's
digest covers it, a trusted key signed it, a record of this home or of its control plane says so; or that nobody signed
it, or that a signature was refused. The same findings make the same graph, node for node.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch import errors

ROWS_MAX = 6
"""Nodes of one kind shown as text: a release has more rollouts than a screen has lines. A guess."""
_TEXT_MAX = 160
"""Characters of a detail shown as text."""


class Kind(enum.StrEnum):
    RELEASE = "release"
    REPOSITORY = "repository"
    CODE = "code"
    DATA = "data"
    REQUIREMENTS = "requirements"
    MODEL = "model"
    TRAINING = "training"
    TESTS = "tests"
    GATE = "gate"
    LOAD = "load"
    STATEMENT = "statement"
    """Something attached that says nothing that could be drawn: it was refused, or is of a kind unknown here."""
    APPROVAL = "approval"
    PIPELINE = "pipeline"
    IMAGE = "image"
    ROLLOUT = "rollout"
    PLACE = "place"


class Proof(enum.StrEnum):
    CONTENT = "content"
    """The release's digest covers it."""
    VERIFIED = "verified"
    """Signed by keys that are trusted here."""
    UNSIGNED = "unsigned"
    """Attached by somebody, signed by nobody."""
    REFUSED = "refused"
    """Signed, and the signature does not count here: `Node.problem` says why."""
    RECORD = "record"
    """This home's own files, or the history its control plane keeps."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    id: str
    """The same for the same thing, whatever else is in the graph."""
    kind: Kind
    label: str
    detail: str = ""
    proof: Proof = Proof.RECORD
    signed_by: tuple[str, ...] = ()
    """Names of trusted keys; of Proof.VERIFIED."""
    problem: str = ""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """As JSON."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**dataclasses.asdict(self), "signed_by": list(self.signed_by)}


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Edge:
    source: str
    target: str
    kind: str
    """A word to be read from the source to the target: `commit built release`."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"from": self.source, "to": self.target, "kind": self.kind}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    root: str
    """The id of the release that was asked about."""
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    notes: tuple[str, ...] = ()
    """What is not in it, and why."""

    def __post_init__(self) -> None:
        known = [node.id for node in self.nodes]
        if len(set(known)) != len(known):
            raise errors.InvariantError("Two nodes of the lineage have one id.")
        ends = {self.root, *(edge.source for edge in self.edges), *(edge.target for edge in self.edges)}
        if ends - set(known):
            raise errors.InvariantError(f"The lineage has no node {min(ends - set(known))!r}.")

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "release": self.root,
            "nodes": [node.document() for node in self.nodes],
            "edges": [edge.document() for edge in self.edges],
            "notes": list(self.notes),
        }


class Drawing:
    """A graph that is being drawn around one release. What is added twice is there once: as it was added first."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self._nodes = {root.id: root}
        self._edges: dict[Edge, None] = {}
        self._notes: dict[str, None] = {}

    def add(self, node: Node) -> None:
        """Adds a node."""
        self._nodes.setdefault(node.id, node)

    def put(self, node: Node) -> None:
        """Adds a node in the place of the one with its id."""
        self._nodes[node.id] = node

    def find(self, node_id: str) -> Node | None:
        """The node of that id."""
        return self._nodes.get(node_id)

    def link(self, source: str, kind: str, target: str) -> None:
        """Adds an edge."""
        self._edges.setdefault(Edge(source=source, target=target, kind=kind))

    def origin(self, node: Node, kind: str) -> None:
        """Adds something the release comes from."""
        self.add(node)
        self.link(node.id, kind, self.root.id)

    def result(self, kind: str, node: Node) -> None:
        """Adds something that came of the release."""
        self.add(node)
        self.link(self.root.id, kind, node.id)

    def note(self, text: str) -> None:
        """Says what is not in the graph."""
        self._notes.setdefault(text)

    def graph(self) -> Graph:
        """What was drawn, in one order however it was drawn."""
        kinds = list(Kind)
        return Graph(
            root=self.root.id,
            nodes=tuple(sorted(self._nodes.values(), key=lambda node: kinds.index(node.kind))),
            edges=tuple(sorted(self._edges)),
            notes=tuple(self._notes),
        )


_BRANCHES: Sequence[tuple[str, Mapping[Kind, str]]] = (
    (
        "made from",
        {
            Kind.REPOSITORY: "repository",
            Kind.CODE: "code",
            Kind.DATA: "data",
            Kind.REQUIREMENTS: "packages",
            Kind.MODEL: "model",
            Kind.TRAINING: "training",
        },
    ),
    (
        "looked at by",
        {
            Kind.TESTS: "tests",
            Kind.GATE: "gate",
            Kind.LOAD: "load test",
            Kind.STATEMENT: "statement",
            Kind.APPROVAL: "approval",
        },
    ),
    (
        "went to",
        {Kind.PIPELINE: "pipeline", Kind.IMAGE: "image", Kind.ROLLOUT: "rollout", Kind.PLACE: "runs in"},
    ),
)


def text(graph: Graph) -> list[str]:
    """A tree of lines to read on a terminal; nothing in them moves its cursor."""
    root = next(node for node in graph.nodes if node.id == graph.root)
    lines = [_row(root)]
    branches = [(title, rows) for title, words in _BRANCHES if (rows := _rows(graph, words))]
    for number, (title, rows) in enumerate(branches):
        last = number + 1 == len(branches)
        lines.append(f"{'└' if last else '├'}─ {title}")
        stem = "   " if last else "│  "
        lines += [
            f"{stem}{'└' if index + 1 == len(rows) else '├'}─ {word:<10} {row}".rstrip()
            for index, (word, row) in enumerate(rows)
        ]
    return lines + [_printable(f"! {note}", limit=0) for note in graph.notes]


def _rows(graph: Graph, words: Mapping[Kind, str]) -> list[tuple[str, str]]:
    found = []
    for kind, word in words.items():
        nodes = [node for node in graph.nodes if node.kind is kind]
        found += [("" if index else word, _row(node)) for index, node in enumerate(nodes[:ROWS_MAX])]
        if len(nodes) > ROWS_MAX:
            found.append(("", f"and {len(nodes) - ROWS_MAX} more: --json has them all"))
    return found


def _row(node: Node) -> str:
    mark = {
        Proof.VERIFIED: f"✓ signed by {', '.join(node.signed_by)}",
        Proof.UNSIGNED: "? unsigned",
        Proof.REFUSED: f"✗ refused: {node.problem}",
    }.get(node.proof, "")
    return "  ".join(_printable(part) for part in (node.label, node.detail, mark) if part)


def _printable(words: str, *, limit: int = _TEXT_MAX) -> str:
    """Without control characters: what others signed goes to somebody's terminal."""
    clean = "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in words)
    return clean if not limit or len(clean) <= limit else f"{clean[: limit - 1]}…"


_SHAPES = {Kind.RELEASE: "box3d", Kind.DATA: "cylinder", Kind.MODEL: "component", Kind.PLACE: "house"}
"""Of Graphviz; the others are boxes."""


def dot(graph: Graph) -> str:
    """The graph for Graphviz: `dot -Tsvg`."""
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    for node in graph.nodes:
        shape = f", shape={_SHAPES[node.kind]}" if node.kind in _SHAPES else ""
        doubt = ", style=dashed" if node.proof in (Proof.UNSIGNED, Proof.REFUSED) else ""
        lines.append(f"  {_quoted(node.id)} [label={_quoted(*_caption(node))}{shape}{doubt}];")
    lines += [
        f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={_quoted(edge.kind)}];" for edge in graph.edges
    ]
    return "\n".join([*lines, "}"])


def _caption(node: Node) -> list[str]:
    doubt = {Proof.UNSIGNED: "unsigned", Proof.REFUSED: "refused"}.get(node.proof, "")
    named = node.kind in (Kind.RELEASE, Kind.CODE)  # their labels say what they are
    title = node.label if named else f"{node.kind.value} {node.label}"
    return [part for part in (title, node.detail, doubt) if part]


def _quoted(*lines: str) -> str:
    r"""A string of DOT: \ would begin an escape, and " would end it."""
    text = "\\n".join(_printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return f'"{text}"'


def mermaid(graph: Graph) -> str:
    """The graph as a flowchart of Mermaid, which GitHub and GitLab draw."""
    names = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    lines += [
        f'  {names[node.id]}["{"<br/>".join(_entities(part) for part in _caption(node))}"]' for node in graph.nodes
    ]
    lines += [f'  {names[edge.source]} -->|"{_entities(edge.kind)}"| {names[edge.target]}' for edge in graph.edges]
    return "\n".join(lines)


def _entities(words: str) -> str:
    """Everything that is no plain word as a character code: Mermaid reads Markdown, HTML and its own signs in texts."""
    plain = " .,:;/@+=()-_→"
    return "".join(
        letter if letter.isalnum() or letter in plain else f"#{ord(letter)};" for letter in _printable(words)
    )
