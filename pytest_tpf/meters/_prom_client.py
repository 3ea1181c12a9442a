"""Prometheus' HTTP API, as far as a meter needs it: instant queries, bounded in time and size, that follow no redirect.

Credentials (``user:password@`` of the URL, every header's value) are sent and nowhere shown: texts pass ``_clean`` before they leave here.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from pytest_tpf.meters.wall_clock import Offset

LARGEST_ANSWER_BYTES = 32 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_LONGEST_TEXT = 200
_CLOCK_TRIES = 3
_NARROW_S = 0.001
_RESOLUTION_S = 0.001  # time() and all timestamps come in milliseconds


class PromError(Exception):
    """The server can't be asked, or its answer can't be used. The text is one line. ``passing``: asking again may help."""

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: credentials don't go where the user didn't send them."""

    def redirect_request(self, *_: Any) -> None:
        return None


class PromClient:
    """One server. ``name`` is its address as it may be shown."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        parts = urlsplit(url)
        self.name = _shown(parts)
        self._endpoint = f"{self.name}/api/v1/query"
        self._timeout_s = timeout_s
        self._headers = {"Accept": "application/json", **_basic(parts), **headers}
        self._secrets = [text for text in (parts.username, parts.password, *_words(_basic(parts)), *_words(headers)) if text]
        self._opener = urllib.request.build_opener(_NoRedirect())

    def query(self, expression: str, at_s: float | None = None) -> Any:
        """The ``data`` of an instant query at the server's time ``at_s`` (now where None). Raises PromError."""
        fields = {"query": expression} | ({} if at_s is None else {"time": f"{at_s:.3f}"})
        body = self._get(f"{self._endpoint}?{urlencode(fields)}")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            looks = "HTML (a login page?)" if body.lstrip()[:1] == b"<" else "something that is not JSON"
            raise PromError(f"{self.name} answered {looks}: is it a Prometheus server's URL?") from None
        if not isinstance(answer, dict) or answer.get("status") != "success" or not isinstance(answer.get("data"), dict):
            raise PromError(f"{self.name}: {self._clean(_reason(answer))}")
        return answer["data"]

    def clock(self) -> Offset:
        """The server's clock minus ``perf_counter``, from asking it for the time. Raises PromError."""
        looks: list[Offset] = []
        while len(looks) < _CLOCK_TRIES and not any(look.half_width_s < _NARROW_S + 0.5 * _RESOLUTION_S for look in looks):
            looks.append(self._looked())
        return min(looks, key=lambda look: look.half_width_s)

    def _looked(self) -> Offset:
        before = time.perf_counter()
        data = self.query("time()")
        after = time.perf_counter()
        try:
            server_s = float(data["result"][1])
        except (KeyError, IndexError, TypeError, ValueError):
            raise PromError(f"{self.name} does not tell its time: is it a Prometheus server's URL?") from None
        middle, half_s = 0.5 * (before + after), 0.5 * (after - before)
        # The server cuts its time to milliseconds.
        return Offset(t=middle, offset_s=server_s + 0.5 * _RESOLUTION_S - middle, half_width_s=half_s + 0.5 * _RESOLUTION_S)

    def _get(self, address: str) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        try:
            request = urllib.request.Request(address, headers=self._headers)
            with self._opener.open(request, timeout=self._timeout_s) as response:
                return self._body(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (TimeoutError, OSError, http.client.HTTPException, ValueError) as error:
            raise self._unreachable(error) from None

    def _body(self, response: Any, deadline: float) -> bytes:
        body = bytearray()
        while piece := response.read1(_PIECE_BYTES):
            body += piece
            if len(body) > LARGEST_ANSWER_BYTES:
                limit = f"{LARGEST_ANSWER_BYTES // 1024 // 1024} MB"
                raise PromError(f"{self.name} answered with more than {limit}: select fewer series with labels, or measure shorter windows")
            if time.monotonic() > deadline:
                raise TimeoutError
        return bytes(body)

    def _refused(self, error: urllib.error.HTTPError) -> PromError:
        if 300 <= error.code < 400:
            where = _shown(urlsplit(error.headers.get("Location") or "")) or "elsewhere"
            return PromError(f"{self.name} redirects to {self._clean(where)}, which is not followed: give the URL of the server itself")
        if error.code in (401, 403):
            return PromError(f"{self.name} refuses access (HTTP {error.code}): give credentials in the file's headers")
        try:
            said = _reason(json.loads(error.read(_PIECE_BYTES)))
        except (ValueError, OSError, http.client.HTTPException, RecursionError):
            said = str(error.reason)
        return PromError(f"{self.name}: HTTP {error.code}: {self._clean(said)}", passing=error.code >= 500 or error.code == 429)

    def _unreachable(self, error: Exception) -> PromError:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            return PromError(f"{self.name} did not answer within {self._timeout_s:g} s (timeout_s)", passing=True)
        why = (reason.strerror or str(reason)) if isinstance(reason, OSError) else f"{type(reason).__name__} {reason}"
        return PromError(f"{self.name} can't be reached: {self._clean(why)}", passing=True)

    def _clean(self, text: str) -> str:
        """One printable line of bounded length in which no secret is left."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}..."


def _reason(answer: Any) -> str:
    said = answer.get("error") if isinstance(answer, dict) else None
    return said if isinstance(said, str) and said else "the answer is not that of a Prometheus server"


def _shown(parts: SplitResult) -> str:
    """An address without credentials, query and fragment."""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}" if host else ""


def _basic(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _words(headers: Mapping[str, str]) -> list[str]:
    """What must not be shown of headers: their values, and the parts of them that could stand alone."""
    return [word for value in headers.values() for word in (value, *value.split()) if len(word) > 3]
