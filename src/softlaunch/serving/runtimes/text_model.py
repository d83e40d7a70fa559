"""
Text models: a directory with tokenizer.json (Hugging Face tokenizers) and model.onnx.

The one feature is a text. Texts of a batch are padded to its longest and cut at the model's maximum, which is the
tokenizer's own truncation, else model_max_length of tokenizer_config.json, else max_position_embeddings of config.json.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers

from softlaunch.core import predictions, release
from softlaunch.serving.runtimes import graph_outputs, model, onnx_model

_PAD_TOKENS = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")
_CHARACTERS_PER_TOKEN = 4.0
"""English prose through common vocabularies; an estimate, so that the cost is known without tokenizing twice."""
_LENGTH_MAX = 1_000_000
"""Greater numbers in tokenizer_config.json mean that there is no maximum."""


class TextModel:
    """See model.Model."""

    platform = "onnx_onnxv1"
    float32_names: frozenset[str] = frozenset()

    def __init__(self, path: pathlib.Path, signature: release.Signature, *, thread_count: int) -> None:
        """
        Raises:
            ConfigError: the directory is not complete, or not the model the signature describes.
        """
        if [column.datatype for column in signature.inputs] != [release.Datatype.BYTES]:
            raise model.mismatch(f"A text model takes one feature of BYTES, the signature has {len(signature.inputs)}.")
        self._signature = signature
        self._tokenizer = _tokenizer(path / "tokenizer.json")
        self._tokens_max = _tokens_max(path, self._tokenizer)
        _prepare(self._tokenizer, self._tokens_max)
        self._session = onnx_model.session(path / "model.onnx", thread_count)
        self._inputs = [node.name for node in self._session.get_inputs()]
        odd = sorted(set(self._inputs) - set(_FEEDS))
        if odd:
            raise model.mismatch(f"The graph's inputs {odd!r:.200} are none of {', '.join(_FEEDS)}.")
        nodes = [graph_outputs.Node(node.name, node.type) for node in self._session.get_outputs()]
        self._fetch = graph_outputs.fetched(nodes, signature)

    def cost(self, row: predictions.Row) -> float:
        """About as many as the row has tokens: what one call has to compute grows with it."""
        estimated = 1.0 + len(row[0] or "") / _CHARACTERS_PER_TOKEN
        return estimated if self._tokens_max is None else min(estimated, float(self._tokens_max))

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """See model.Model.answer."""
        encoded = self._tokenizer.encode_batch([row[0] or "" for row in rows])
        fed = {
            name: np.array([getattr(each, _FEEDS[name]) for each in encoded], dtype=np.int64) for name in self._inputs
        }
        answered = self._session.run(list(self._fetch.values()), fed)
        found = {
            role: onnx_model.array(value, self._signature) for role, value in zip(self._fetch, answered, strict=True)
        }
        if graph_outputs.ROLES.isdisjoint(found):
            return found
        return predictions.answer_columns(self._signature.outputs, **found)


def load(found: model.Loading) -> TextModel:
    """See unpacked.load_model."""
    return TextModel(found.needed_path, found.content.signature, thread_count=found.thread_count)


_FEEDS: Mapping[str, str] = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""Graph inputs, and the tokenizer's words for what goes in."""


def _tokenizer(path: pathlib.Path) -> Any:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself
        raise model.unloadable(
            f"{path.name} is not a tokenizer that tokenizers {tokenizers.__version__} loads ({model.one_line(error)}).",
            remedy="Write it with tokenizer.save('tokenizer.json') under the version the requirements pin.",
        ) from error


def _tokens_max(directory: pathlib.Path, tokenizer: Any) -> int | None:
    if tokenizer.truncation is not None:
        return int(tokenizer.truncation["max_length"])
    for name, key in (("tokenizer_config.json", "model_max_length"), ("config.json", "max_position_embeddings")):
        try:
            found = json.loads((directory / name).read_bytes()).get(key)
        except FileNotFoundError:
            continue
        except (ValueError, AttributeError) as error:
            raise model.unloadable(
                f"{name} is not a JSON object ({model.one_line(error)}).", remedy="Write it again, or remove it."
            ) from error
        if isinstance(found, int | float) and 0 < found < _LENGTH_MAX:
            return int(found)
    return None


def _prepare(tokenizer: Any, tokens_max: int | None) -> None:
    if tokenizer.truncation is None and tokens_max is not None:
        tokenizer.enable_truncation(tokens_max)
    chosen = tokenizer.padding or {}
    token = chosen.get("pad_token") or next(
        (each for each in _PAD_TOKENS if tokenizer.token_to_id(each) is not None), "[PAD]"
    )
    tokenizer.enable_padding(
        direction=chosen.get("direction", "right"),
        pad_id=chosen.get("pad_id", tokenizer.token_to_id(token) or 0),
        pad_type_id=chosen.get("pad_type_id", 0),
        pad_token=token,
    )
