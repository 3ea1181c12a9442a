"""A server that plays what a test tells it, event by event, over real sockets, and remembers when it sent each of them.

An ``Answer`` is what one request gets; ``Server.play`` takes them in order (the last one again and again), or a function of the request's
body. ``Exchange.sent_s`` holds the ``time.perf_counter()`` at which the sending of each event began. Where an answer is ``held``, each of
those events waits until the test says ``exchange.go()``, so what the client stamps lies between two of these instants by causality:
``sent_s[k] <= stamp <= sent_s[k + 1]``, however slow the machine.

The dialects below are those of real servers, each with the deltas that the test gives.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOLD_LIMIT_S = 60.0
DONE = "[DONE]"

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """``events``: what is sent one after the other, the data as JSON or the event as text; None = the reply is ``body``, in one piece.

    ``held``: places of the events that wait for ``go``. ``late``: not even the status is sent before a first ``go``. ``delay_s`` passes
    before the status, ``pace_s`` before each event. ``drops``: the connection is cut where the stream should end.
    """

    events: tuple[Json | str, ...] | None = None
    body: Json | None = None
    status: int = 200
    held: frozenset[int] = frozenset()
    drops: bool = False
    late: bool = False
    delay_s: float = 0.0
    pace_s: float = 0.0


@dataclass
class Exchange:
    """One request and what was sent for it. ``gone``: the client left before the end."""

    path: str
    body: Json
    headers: dict[str, str]
    sent_s: list[float] = field(default_factory=list)
    ended_s: float | None = None
    gone: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    _turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _is_let_go: bool = False

    def go(self) -> None:
        """Let the next held event be sent."""
        self._turns.release()

    def let_go(self) -> None:
        """Hold no event any more."""
        self._is_let_go = True
        self.go()

    def wait(self) -> None:
        """Until the test says go."""
        if not self._is_let_go:
            self._turns.acquire(timeout=HOLD_LIMIT_S)


Script = Callable[[Json], Answer]


class Server:
    """``url``: what a client takes as its base URL. ``exchanges``: in the order in which the requests came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.exchanges: list[Exchange] = []
        self._answers: list[Answer] = []
        self._script: Script | None = None
        self._lock = threading.Lock()

    def play(self, *answers: Answer, script: Script | None = None) -> None:
        """Answer so from now on."""
        self._answers, self._script = list(answers), script

    @property
    def asked(self) -> list[Json]:
        """The bodies of all requests."""
        return [exchange.body for exchange in self.exchanges]

    def begin(self, exchange: Exchange) -> Answer:
        with self._lock:
            self.exchanges.append(exchange)
            if self._script is not None:
                return self._script(exchange.body)
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def forget(self) -> None:
        """Begin anew: nobody waits any more, and nothing was asked."""
        for exchange in self.exchanges:
            exchange.let_go()
        self.exchanges.clear()


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # else a client has gone, as some tests want it
            super().handle_error(request, client_address)


@contextmanager
def scripted(*answers: Answer, script: Script | None = None) -> Iterator[Server]:
    """A server in a thread of this process."""
    listening = _Listening(("127.0.0.1", 0), _Handler)
    server = Server(f"http://127.0.0.1:{listening.server_address[1]}/v1")
    server.play(*answers, script=script)
    listening.scripted = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.forget()
        listening.shutdown()
        listening.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        exchange = Exchange(path=self.path, body=json.loads(text), headers=dict(self.headers))
        answer = self.server.scripted.begin(exchange)  # type: ignore[attr-defined]
        try:
            if answer.late:
                exchange.wait()
            time.sleep(answer.delay_s)
            if answer.events is None:
                self._send_whole(answer, exchange)
            else:
                self._send_events(answer, exchange)
        except OSError:
            exchange.gone = self.close_connection = True
        finally:
            exchange.ended_s = time.perf_counter()
            exchange.over.set()

    def _send_whole(self, answer: Answer, exchange: Exchange) -> None:
        body = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After-Ms", "1")  # whoever tries again needn't wait
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if 0 in answer.held:
            exchange.wait()
        exchange.sent_s.append(time.perf_counter())
        self.wfile.write(body)

    def _send_events(self, answer: Answer, exchange: Exchange) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for place, event in enumerate(answer.events or ()):
            if place in answer.held:
                exchange.wait()
            if answer.pace_s:
                time.sleep(answer.pace_s)
            data = (event if isinstance(event, str) else _named(event)).encode()
            exchange.sent_s.append(time.perf_counter())
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        if answer.drops:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        pass


def _named(event: Json) -> str:
    """Events of the responses API have their type as a name, too."""
    kind = str(event.get("type", ""))
    name = f"event: {kind}\n" if kind.startswith("response.") else ""
    return f"{name}data: {json.dumps(event)}\n\n"


DONE_EVENT = f"data: {DONE}\n\n"

# --- chat completions and completions, streamed -----------------------------------------------------------------------


def usage(output: int, prompt: int = 5, **more: Any) -> Json:
    """Usage as chat completions tell it."""
    return {"completion_tokens": output, "prompt_tokens": prompt, "total_tokens": output + prompt, **more}


def chunk(*choices: Json, model: str = "scripted", **more: Any) -> Json:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": list(choices), **more}


def delta(found: str | Json | None, *, index: int = 0, finish: str | None = None) -> Json:
    """A choice of a chunk; a text is content, None holds nothing."""
    held = {"content": found} if isinstance(found, str) else found or {}
    return {"index": index, "delta": held, "finish_reason": finish}


ROLE = {"role": "assistant", "content": ""}

Deltas = Sequence[str | Json]


def asks_for_usage(body: Json) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def vllm(deltas: Deltas, output: int, prompt: int = 5, *, held: bool = False, **details: Any) -> Script:
    """A role first; usage last, in a chunk without choices, where it was asked for. ``held``: all up to the finish reason."""

    def answer(body: Json) -> Answer:
        events: list[Json | str] = [chunk(delta(ROLE)), *(chunk(delta(each)) for each in deltas), chunk(delta(None, finish="stop"))]
        if asks_for_usage(body):
            events.append(chunk(usage=usage(output, prompt, **details)))
        return Answer(events=(*events, DONE_EVENT), held=frozenset(range(1, len(deltas) + 2)) if held else frozenset())

    return answer


def llama_cpp(deltas: Deltas) -> Answer:
    """No usage, whether asked or not."""
    return Answer(events=(chunk(delta(ROLE)), *(chunk(delta(each)) for each in deltas), chunk(delta(None, finish="stop")), DONE_EVENT))


def cumulative(deltas: Deltas, counts: Sequence[int], prompt: int = 5) -> Answer:
    """Usage in every chunk, each the sum so far."""
    events = [chunk(delta(each), usage=usage(count, prompt)) for each, count in zip(deltas, counts, strict=True)]
    last = chunk(delta(None, finish="stop"), usage=usage(counts[-1], prompt))
    return Answer(events=(chunk(delta(ROLE), usage=usage(0, prompt)), *events, last, DONE_EVENT))


def cut_off(deltas: Deltas, *, done: bool = True) -> Answer:
    """Status 200 and no finish reason: an interrupted stream."""
    events = (chunk(delta(ROLE)), *(chunk(delta(each)) for each in deltas))
    return Answer(events=(*events, DONE_EVENT) if done else events)


def transformers_serve(deltas: Deltas, output: int, prompt: int = 5) -> Answer:
    """Usage beside the finish reason, asked for or not; the stream just ends."""
    last = chunk(delta(None, finish="length"), usage=usage(output, prompt))
    return Answer(events=(chunk(delta(ROLE)), *(chunk(delta(each)) for each in deltas), last))


def text_chunk(text: str, *, finish: str | None = None, **more: Any) -> Json:
    """A chunk of the older completions."""
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
    return {"id": "t1", "object": "text_completion", "created": 1, "model": "scripted", "choices": [choice], **more}


# --- in one piece -----------------------------------------------------------------------------------------------------


def message(content: str | Json, *, finish: str | None = "stop", count: Json | None = None, model: str = "scripted") -> Answer:
    """A chat completion; a mapping is the whole message."""
    held = {"role": "assistant", **({"content": content} if isinstance(content, str) else content)}
    choice = {"index": 0, "message": held, "finish_reason": finish}
    body = {"id": "m1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
    return Answer(body=body | ({"usage": count} if count else {}))


def error(status: int, text: str = "no") -> Answer:
    return Answer(status=status, body={"error": {"message": text, "type": "scripted", "code": None, "param": None}})


def refusing_options(status: int, then: Answer) -> Script:
    """A server that doesn't know ``stream_options``."""
    return lambda body: error(status, "stream_options: extra fields not permitted") if "stream_options" in body else then


# --- responses --------------------------------------------------------------------------------------------------------


def response(*output: Json, status: str = "completed", output_tokens: int | None = None, input_tokens: int = 5, reasoning: int = 0) -> Json:
    count = {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input_tokens + (output_tokens or 0),
    }
    return {
        "id": "r1",
        "object": "response",
        "created_at": 1,
        "model": "scripted",
        "status": status,
        "output": list(output),
        "usage": None if output_tokens is None else count,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def said(text: str) -> Json:
    """A message as a response holds it."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "i1", "status": "completed", "role": "assistant", "content": content}


def response_events(texts: Sequence[str], output_tokens: int, *, ending: str | None = "completed", reasoning: Sequence[str] = ()) -> Answer:
    """A streamed response; ``ending`` None: it stops without one."""
    place = {"item_id": "i1", "output_index": 0, "content_index": 0}
    events: list[Json] = [{"type": "response.created", "response": response(status="in_progress")}]
    events.append({"type": "response.output_item.added", "output_index": 0, "item": said("") | {"content": [], "status": "in_progress"}})
    events.append({"type": "response.content_part.added", **place, "part": {"type": "output_text", "text": "", "annotations": []}})
    events += [{"type": "response.reasoning_text.delta", **place, "delta": text} for text in reasoning]
    events += [{"type": "response.output_text.delta", **place, "delta": text, "logprobs": []} for text in texts]
    events.append({"type": "response.output_text.done", **place, "text": "".join(texts), "logprobs": []})
    if ending is not None:
        whole = response(said("".join(texts)), status=ending, output_tokens=output_tokens, reasoning=len(reasoning))
        events.append({"type": f"response.{ending}", "response": whole})
    return Answer(events=tuple(each | {"sequence_number": number} for number, each in enumerate(events)))
