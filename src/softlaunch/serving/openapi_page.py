"""The page at /docs: what can be asked, which fields there are, and a command to try. Nothing from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from softlaunch.core import release
from softlaunch.serving import readiness

_KINDS = {
    release.Datatype.BOOL: "true or false",
    release.Datatype.INT64: "whole number",
    release.Datatype.FP32: "number",
    release.Datatype.FP64: "number",
    release.Datatype.BYTES: "text",
}

_STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#5a6675;--line:#dde3ea;--paper:#fff;--tint:#f5f7fa;--mark:#0b6bcb}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa7b6;--line:#2c3644;--paper:#131922;--tint:#1b232e;
--mark:#6cb2ff}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}h1{margin:0;font-size:1.9rem}
h2{margin:2.4rem 0 .6rem;font-size:1.15rem}p{margin:.4rem 0}.soft{color:var(--soft)}
code,pre{font:14px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}a{color:var(--mark)}
pre{margin:.4rem 0;padding:.9rem 1rem;overflow-x:auto;background:var(--tint);border:1px solid var(--line);
border-radius:8px}table{width:100%;border-collapse:collapse}.wide{overflow-x:auto}
th,td{padding:.45rem .7rem .45rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-size:.8rem;font-weight:600;color:var(--soft)}.verb{width:3.8rem;font-weight:600;
color:var(--mark)}.named td:first-child,.named th:first-child{width:30%}.named td:nth-child(2){width:20%}
"""
_ADDRESS = "http://localhost:8080/"
"""What the page shows where no script runs; with one, the address it was fetched from."""
_SCRIPT = """
const base = new URL(".", location.href).href;
document.querySelectorAll("code.try").forEach(e => { e.textContent = e.textContent.replace("_ADDRESS_", base) });
""".replace("_ADDRESS_", _ADDRESS)


def page(service: str, version: str, loaded: readiness.Loaded, rows: Sequence[dict[str, Any]]) -> str:
    """
    The page of one loaded model.

    Args:
        service: Its name.
        version: DIGEST12.
        loaded: The model.
        rows: Examples by feature name, at least one.
    """
    name = html.escape(service)
    row = json.dumps(rows[0], ensure_ascii=False, indent=2).replace("'", "\\u0027")
    model = f"/v2/models/{service}"
    endpoints = [
        ("POST", "/predict", "rows as JSON, by feature name"),
        ("POST", f"{model}/infer", "Open Inference Protocol (KServe V2): tensors as JSON or binary"),
        ("gRPC", "/inference.GRPCInferenceService/ModelInfer", "the same over gRPC, through the gateway"),
        ("GET", model, "metadata: tensors and versions"),
        ("GET", "/v2/health/ready", "whether predictions are answered"),
        ("GET", "/openapi.json", "this page for tools: OpenAPI 3.1"),
    ]
    features = [found.name for found in loaded.signature.inputs]
    said = "optional; recorded, the model does not see it"
    keys = "".join(_line(key, "text or number", said) for key in loaded.keys if key not in features)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{name}</h1>
<p class="soft">release <code>{html.escape(version)}</code></p>
<h2>Try it</h2>
<pre><code class="try">{html.escape(_command(row))}</code></pre>
<h2>Endpoints</h2>
<div class="wide"><table><tbody>
{"".join(_endpoint(*each) for each in endpoints)}</tbody></table></div>
<h2>Features</h2>
<div class="wide"><table class="named">
<thead><tr><th>name</th><th>value</th><th></th></tr></thead>
<tbody>
{"".join(_feature(found) for found in loaded.signature.inputs)}{keys}</tbody></table></div>
<h2>Answer</h2>
<div class="wide"><table class="named">
<thead><tr><th>name</th><th>value</th><th></th></tr></thead>
<tbody>
{"".join(_output(found) for found in loaded.declared.outputs)}</tbody></table></div>
<p class="soft">Send one row, a list of rows, or <code>{{"rows": [...]}}</code>. What is refused says in
<code>error</code> what is wrong and in <code>remedy</code> what to do.</p>
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _command(row: str) -> str:
    return f"curl {_ADDRESS}predict -H 'content-type: application/json' -d '{row}'"


def _endpoint(verb: str, path: str, said: str) -> str:
    shown = html.escape(path)
    if verb == "GET":
        shown = f'<a href="{shown.removeprefix("/")}">{shown}</a>'
    return f'<tr><td class="verb">{verb}</td><td><code>{shown}</code><br><span class="soft">{said}</span></td></tr>\n'


def _feature(found: release.Column) -> str:
    said = "optional: null, or left out, when it is missing" if found.nullable else "required"
    return _line(found.name, _KINDS[found.datatype], said)


def _output(found: release.Column) -> str:
    bounds = []
    if found.minimum is not None:
        bounds.append(f"at least {found.minimum:g}")
    if found.maximum is not None:
        bounds.append(f"at most {found.maximum:g}")
    if found.nullable:
        bounds.append("null when there is none")
    return _line(found.name, _KINDS[found.datatype], ", ".join(bounds))


def _line(name: str, kind: str, said: str) -> str:
    return f'<tr><td><code>{html.escape(name)}</code></td><td>{kind}</td><td class="soft">{said}</td></tr>\n'
