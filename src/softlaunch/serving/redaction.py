"""
What is left out of records, or hashed, before they reach the disk.

A rule names a field: a member of a JSON request at any depth (a feature of a row, a business key, a parameter), a
tensor of the Open Inference Protocol, a feature looked up, or `key`, the sticky key the gateway found. `drop` records
null instead of the value, `hash` a keyed digest: equal values stay equal, nobody reads them back without the secret.

A request that cannot be read as JSON may hold anything, so its body is not recorded at all; neither is the body of an
answer that is an error, which may quote the offending value. All of this happens on the capture thread.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from softlaunch.core import spec, spool

STICKY_KEY = "key"
"""The field that stands for the sticky key, whatever header it came in."""
_DIGITS = 32
_ERROR_STATUS = 400
_PLACE = {name: number for number, name in enumerate(spool.VALUE_NAMES)}
_FLAGS, _REQUEST, _STATUS, _ANSWER = (_PLACE[name] for name in ("flags", "request", "status", "answer"))
_KEY, _KEYS, _FEATURES = (_PLACE[name] for name in ("key", "keys", "features"))


class Redactor:
    """
    Args:
        rules: What to do, by field.
        secret: Key of the digests.
        keys: Declared business keys: the model does not see them, so a request without them can be sent again.
        feature_names: Of the signature. A tensor of another name may hold them all, and is left out whole.
    """

    def __init__(
        self,
        rules: Mapping[str, spec.Redaction],
        *,
        secret: bytes,
        keys: Sequence[str] = (),
        feature_names: Sequence[str] = (),
    ) -> None:
        self._rules = dict(rules)
        self._secret = secret
        self._unseen = frozenset(keys)
        self._named = frozenset(feature_names) | self._unseen
        self._hides_features = any(name in feature_names for name in rules)
        self._decode = msgspec.json.Decoder().decode
        self._encode = msgspec.json.Encoder().encode

    def redact(self, row: list[Any]) -> None:
        """Redacts a record in place; `row` is one of a spool.Group."""
        if row[_KEY] and STICKY_KEY in self._rules:
            row[_KEY] = self._replaced(STICKY_KEY, row[_KEY]) or ""
        if row[_STATUS] >= _ERROR_STATUS:
            row[_ANSWER] = b""
        if row[_KEYS]:
            row[_KEYS] = {
                name: [self._replaced(name, each) for each in column] if name in self._rules else column
                for name, column in row[_KEYS].items()
            }
        changed: set[str] = set()
        if row[_FEATURES]:
            row[_FEATURES] = self._walked(row[_FEATURES], changed)
        request = row[_REQUEST]
        if not request:
            return
        try:
            document = self._walked(self._decode(request), changed)
            self._redact_tensors(document, changed)
            row[_REQUEST] = self._encode(document)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
            row[_REQUEST] = b""
            row[_FLAGS] |= spool.FLAG_CUT | spool.FLAG_REDACTED
            return
        if changed - self._unseen:
            row[_FLAGS] |= spool.FLAG_REDACTED

    def digest(self, value: Any) -> str:
        """32 hex digits: HMAC-SHA256 of a text as it is, of anything else as JSON."""
        data = value.encode(errors="surrogatepass") if isinstance(value, str) else self._encode(value)
        return hmac.new(self._secret, data, hashlib.sha256).hexdigest()[:_DIGITS]

    def _walked(self, found: Any, changed: set[str]) -> Any:
        if isinstance(found, dict):
            walked = {}
            for name, value in found.items():
                if name in self._rules and value is not None:
                    changed.add(name)
                    walked[name] = self._replaced(name, value)
                else:
                    walked[name] = self._walked(value, changed)
            return walked
        if isinstance(found, list):
            return [self._walked(each, changed) for each in found]
        return found

    def _redact_tensors(self, document: Any, changed: set[str]) -> None:
        tensors = document.get("inputs") if isinstance(document, dict) else None
        for tensor in tensors if isinstance(tensors, list) else ():
            if not isinstance(tensor, dict) or "data" not in tensor:
                continue
            name = tensor.get("name")
            if isinstance(name, str) and name in self._rules:
                changed.add(name)
                tensor["data"] = self._each(name, tensor["data"])
            elif self._hides_features and name not in self._named:
                changed.add("")
                tensor["data"] = []

    def _each(self, name: str, found: Any) -> Any:
        if isinstance(found, list):
            return [self._each(name, each) for each in found]
        return self._replaced(name, found)

    def _replaced(self, name: str, value: Any) -> str | None:
        if value is None or self._rules[name] is spec.Redaction.DROP:
            return None
        return self.digest(value)
