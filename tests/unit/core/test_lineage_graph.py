"""The graph of a release, and how it is shown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.core import intoto, lineage_nodes, lineage_said, release
from softlaunch.core import lineage_graph as graphs

DIGEST = release.Digest("sha256:" + "1" * 64)
ROOT = graphs.Node(id=DIGEST.value, kind=graphs.Kind.RELEASE, label="release 111111111111 of demo")
LINEAGE = release.Lineage(
    commit="c" * 40,
    branch="main",
    tags=("v1",),
    author="ann",
    committed_at="2026-01-01T00:00:00Z",
    built_at="2026-01-01T00:00:00Z",
    tests="3 passed",
)


def drawing() -> graphs.Drawing:
    return graphs.Drawing(ROOT)


def said(kind: intoto.Kind, predicate: dict, *, proof: graphs.Proof = graphs.Proof.VERIFIED) -> lineage_said.Said:
    statement = intoto.Statement(kind=kind, service="demo", subject=DIGEST, predicate=predicate)
    return lineage_said.Said(
        referrer=f"sha256:{kind.value}",
        proof=proof,
        statement=statement,
        signed_by=("ci",),
        problem="its key is unknown",
    )


def view(number: int, *, environment: str = "production", candidate: str = DIGEST.value, **changes) -> dict:
    found = {
        "id": number,
        "environment": environment,
        "candidate": candidate,
        "stable": None,
        "ref": "main",
        "commit": "c" * 40,
        "requested_by": "ann",
        "phase": "promoted",
        "outcome": "promoted",
        "reason": "Enough evidence.",
        "created_at": 0.0,
        "finished_at": 9.0,
        "candidate_percent": 10.0,
    }
    return {**found, **changes}


def place(**changes) -> dict:
    found = {"service": "demo", "environment": "production", "stable": None, "previous": None, "rollout": None}
    return {**found, **changes}


def test_the_same_findings_in_another_order_make_the_same_edges() -> None:
    one, other = drawing(), drawing()
    a, b = (graphs.Node(id=name, kind=graphs.Kind.DATA, label=name) for name in "ab")
    one.origin(a, "went into")
    one.origin(b, "went into")
    other.origin(b, "went into")
    other.origin(a, "went into")
    other.origin(a, "went into")

    assert one.graph().edges == other.graph().edges


def test_a_graph_with_an_edge_to_nowhere_is_refused() -> None:
    with pytest.raises(errors.InvariantError, match="no node 'b'"):
        graphs.Graph(root=ROOT.id, nodes=(ROOT,), edges=(graphs.Edge(source=ROOT.id, target="b", kind="x"),))


def test_json_of_every_edge_names_two_nodes_of_the_graph() -> None:
    found = drawing()
    lineage_said.add_code(found, [LINEAGE], ())
    lineage_nodes.add_now(found, lineage_nodes.Now(rollouts=[view(3)], services=[place(stable=DIGEST.value)]))
    document = found.graph().document()
    ids = {node["id"] for node in document["nodes"]}

    assert {f"commit:{'c' * 40}", "rollout:3", "place:demo/production"} < ids
    assert all({edge["from"], edge["to"]} <= ids for edge in document["edges"])


def test_a_commit_that_nobody_signed_is_marked_so_and_a_signed_one_names_the_key() -> None:
    signed = said(intoto.Kind.LINEAGE, lineage_document())
    forged = said(intoto.Kind.LINEAGE, {**lineage_document(), "author": "eve"})
    lines = {}
    for name, statements in (("none", []), ("signed", [signed]), ("forged", [forged])):
        found = drawing()
        lineage_said.add_code(found, [LINEAGE], statements)
        lines[name] = graphs.text(found.graph())[-1]

    assert "? unsigned" in lines["none"]
    assert "✓ signed by ci" in lines["signed"]
    assert "? unsigned" in lines["forged"]


def lineage_document() -> dict:
    return {
        "commit": LINEAGE.commit,
        "branch": LINEAGE.branch,
        "tags": list(LINEAGE.tags),
        "author": LINEAGE.author,
        "committed_at": LINEAGE.committed_at,
        "built_at": LINEAGE.built_at,
        "tests": LINEAGE.tests,
    }


SAID = {
    intoto.Kind.APPROVAL: {"by": "ann", "environment": "production", "rollout": 3, "at": "2026-01-01T00:00:00Z"},
    intoto.Kind.TRAINING: {"run": "r-1", "digest": {"sha256": "1"}, "record": {}},
    intoto.Kind.DATA: {"files": [{"name": "model", "digest": {"sha256": "1"}, "uri": "git:x"}]},
    intoto.Kind.LOCK: {"files": [{"name": "requirements.lock", "digest": {"sha256": "1"}}]},
}


@pytest.mark.parametrize("kind", SAID)
def test_what_was_refused_is_shown_with_the_reason_and_never_hides_what_verifies(kind) -> None:
    refused, verified = (said(kind, SAID[kind], proof=proof) for proof in (graphs.Proof.REFUSED, graphs.Proof.VERIFIED))
    drawn = []
    for order in ([refused, verified], [verified, refused]):
        found = drawing()
        lineage_said.add_said(found, order, ())
        drawn.append(found.graph())
    text = "\n".join(graphs.text(drawn[0]))

    assert drawn[0] == drawn[1]
    assert "✓ signed by ci" in text
    assert "✗ refused: its key is unknown" in text


def test_a_refused_approval_changes_nothing_about_one_of_the_history() -> None:
    event = {"environment": "production", "rollout_id": 3, "at": 0.0, "text": "Approved.", "facts": {"by": "ann"}}
    found = drawing()
    lineage_nodes.add_now(found, lineage_nodes.Now(rollouts=[view(3)], approvals=[event]))
    before = found.graph()
    lineage_said.add_said(
        found, [said(intoto.Kind.APPROVAL, SAID[intoto.Kind.APPROVAL], proof=graphs.Proof.REFUSED)], ()
    )
    after = found.graph()

    assert set(before.edges) < set(after.edges)
    assert all(node in after.nodes for node in before.nodes)
    assert 2 == sum(edge.kind in ("approved", "let go on") for edge in after.edges)


def test_an_approval_that_is_signed_and_in_the_history_is_one() -> None:
    event = {"environment": "production", "rollout_id": 3, "at": 0.0, "text": "Approved.", "facts": {"by": "ann"}}
    found = drawing()
    lineage_nodes.add_now(found, lineage_nodes.Now(rollouts=[view(3)], approvals=[event]))
    predicate = {"by": "ann", "environment": "production", "rollout": 3, "service": "demo", "reason": "Looks good."}
    lineage_said.add_said(found, [said(intoto.Kind.APPROVAL, predicate)], ())
    graph = found.graph()
    (approval,) = [node for node in graph.nodes if node.kind is graphs.Kind.APPROVAL]

    assert (graphs.Proof.VERIFIED, ("ci",)) == (approval.proof, approval.signed_by)
    assert graphs.Edge(source=approval.id, target="rollout:3", kind="let go on") in graph.edges


@pytest.mark.parametrize(
    ("entry", "pins", "expected"),
    [
        (place(stable=DIGEST.value), [], "live"),
        (place(stable="other", rollout=view(3, phase="stepping", candidate_percent=25.0)), [], "candidate (25 %)"),
        (place(stable="other", rollout=view(3, phase="watching", candidate_percent=0.0)), [], "live, and watched"),
        (
            place(stable="other", rollout=view(3, phase="watching", candidate_percent=95.0)),
            [],
            "live for 95 %, and watched",
        ),
        (
            place(stable=DIGEST.value, rollout=view(3, phase="watching", candidate="new", candidate_percent=95.0)),
            [],
            "live for 5 %, until the new release was watched",
        ),
        (
            place(stable=DIGEST.value, rollout=view(3, phase="watching", candidate="new", candidate_percent=0.0)),
            [],
            "previous",
        ),
        (place(stable=DIGEST.value, rollout=view(3, phase="stepping", candidate="new")), [], "live"),
        (place(stable="other", previous=DIGEST.value), [], "previous"),
        (place(stable="other"), [("demo", "production", "Errors.")], "pinned: Errors."),
        (
            place(stable="other", previous=DIGEST.value),
            [("demo", "production", "Errors.")],
            "previous; pinned: Errors.",
        ),
    ],
)
def test_where_a_release_is_and_as_what(entry, pins, expected) -> None:
    found = drawing()
    told = [
        {"service": service, "environment": environment, "release": DIGEST.value, "reason": reason}
        for service, environment, reason in pins
    ]
    lineage_nodes.add_now(found, lineage_nodes.Now(services=[entry], pins=told))
    (node,) = [node for node in found.graph().nodes if node.kind is graphs.Kind.PLACE]

    assert ("production", expected) == (node.label, node.detail)


def test_a_release_that_runs_nowhere_is_said_to_run_nowhere() -> None:
    found = drawing()
    lineage_nodes.add_now(found, lineage_nodes.Now(services=[place(stable="other")]))

    assert ("It runs nowhere now.",) == found.graph().notes


def test_the_token_in_a_repository_s_url_is_not_shown() -> None:
    found = drawing()
    lineage_nodes.add_now(found, lineage_nodes.Now(repositories=["https://ann:hunter2@git.example.com/x.git"]))

    assert "hunter2" not in str(found.graph().document())


def test_many_rollouts_do_not_fill_the_screen() -> None:
    found = drawing()
    lineage_nodes.add_now(found, lineage_nodes.Now(rollouts=[view(number) for number in range(1, 400)]))
    lines = graphs.text(found.graph())

    assert len(lines) < 24
    assert "and 393 more: --json has them all" in lines[-2]


def test_of_statements_that_say_the_same_one_is_kept_with_all_who_signed_it() -> None:
    first = said(intoto.Kind.METRICS, {"gates": []})
    second = lineage_said.Said(
        referrer="sha256:2", proof=graphs.Proof.VERIFIED, statement=first.statement, signed_by=("release",)
    )

    (found,) = lineage_said.merged([first, second])

    assert ("ci", "release") == found.signed_by


WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("files", "digest", "annotations", "by", "environment", "rollout", "run", "record", "buildDefinition", "at")


@settings(max_examples=15)
@given(
    st.sampled_from(list(intoto.Kind)),
    st.dictionaries(st.sampled_from(FIELDS), WILD | st.lists(st.dictionaries(st.sampled_from(FIELDS), WILD))),
)
def test_whatever_a_stranger_s_statement_holds_the_graph_is_drawn(kind, predicate) -> None:
    found = drawing()
    lineage_said.add_said(found, [said(kind, predicate, proof=graphs.Proof.REFUSED)], ())
    graph = found.graph()

    assert graphs.text(graph)
    assert graphs.dot(graph)
    assert graphs.mermaid(graph)


def test_no_name_leaves_its_quotes_or_moves_the_cursor() -> None:
    found = drawing()
    evil = 'a"]; evil -> b [label="\\'
    found.origin(graphs.Node(id=evil, kind=graphs.Kind.DATA, label=evil, detail="\x1b[2J\n`<b>`"), "went\x07into")
    graph = found.graph()
    dot, mermaid = graphs.dot(graph), graphs.mermaid(graph)

    # Without its strings, what is left of the DOT is our own words.
    assert "evil" not in re.sub(r'"(?:[^"\\]|\\.)*"', '""', dot)
    assert "evil" not in re.sub(r'"[^"]*"', '""', mermaid)
    assert "<b>" not in mermaid
    assert "\x1b" not in "\n".join((dot, mermaid, *graphs.text(graph)))
    assert "\x07" not in "\n".join((dot, mermaid, *graphs.text(graph)))
