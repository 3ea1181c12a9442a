"""A server as a process of its own: every POST takes ``SPIN_S`` of CPU time and answers as a chat completion of ``TOKENS`` tokens.

``python -m tests.served.tiny_server FILE`` writes its port to FILE once it listens. It is a proxy as well: it answers in anybody's name.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKENS, PROMPT_TOKENS, SPIN_S = 5, 3, 0.2

REPLY = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "tiny",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "one two"}}],
    "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": TOKENS, "total_tokens": PROMPT_TOKENS + TOKENS},
}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        end_s = time.thread_time() + SPIN_S
        while time.thread_time() < end_s:
            pass
        body = json.dumps(REPLY).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def main(place: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    draft = place.with_suffix(".draft")
    draft.write_text(f"{server.server_address[1]} {os.getpid()}", encoding="ascii")
    draft.replace(place)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
