"""OpenVINO GenAI's continuous batching behind just enough of OpenAI's interface to be loaded like the others.

    python openvino_server.py MODEL.gguf --port 8001 --max-num-seqs 64 --cache-gib 4

Runs by itself in an environment that has `openvino-genai` and `openvino-tokenizers`. It is kind to the peer:
every token is answered by the same word, so that no text is ever made, and the thread that steps the pipeline writes to
the clients itself, because others would wait for the interpreter until the next step is done.
"""

import argparse
import contextlib
import importlib
import json
import queue
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORD = " token"
OnTokens = Callable[[int], None]


class Pipeline:
    """Steps the pipeline while there is work. Each request brings a function that is told numbers of new tokens."""

    def __init__(self, model: str, *, max_num_seqs: int, cache_gib: int, max_num_batched_tokens: int) -> None:
        self._genai = importlib.import_module("openvino_genai")
        scheduler = self._genai.SchedulerConfig()
        scheduler.cache_size = cache_gib
        scheduler.max_num_seqs = max_num_seqs
        scheduler.max_num_batched_tokens = max_num_batched_tokens
        scheduler.enable_prefix_caching = False
        self._pipeline = self._genai.ContinuousBatchingPipeline(model, scheduler, "CPU")
        self._tokenizer = self._pipeline.get_tokenizer()
        self._arrivals: queue.Queue[tuple[str, int, OnTokens, threading.Event]] = queue.Queue()
        self._tokenizing = threading.Lock()

    def count(self, prompt: str) -> int:
        """Tokens of a prompt."""
        with self._tokenizing:
            return int(self._tokenizer.encode(prompt).input_ids.shape[1])

    def generate(self, prompt: str, max_tokens: int, on_tokens: "OnTokens") -> None:
        """Have it generated, and wait until it is."""
        done = threading.Event()
        self._arrivals.put((prompt, max_tokens, on_tokens, done))
        done.wait()

    def run(self) -> None:
        """Step for ever."""
        running: dict[int, tuple[Any, OnTokens, threading.Event]] = {}
        next_id = 0
        is_running = self._genai.GenerationStatus.RUNNING
        while True:
            while not self._arrivals.empty() or not running:
                prompt, max_tokens, on_tokens, done = self._arrivals.get()
                config = self._genai.GenerationConfig()
                config.max_new_tokens, config.ignore_eos = max_tokens, True
                config.do_sample, config.apply_chat_template = False, False
                running[next_id] = (self._pipeline.add_request(next_id, prompt, config), on_tokens, done)
                next_id += 1
            self._pipeline.step()
            for request_id, (handle, on_tokens, done) in list(running.items()):
                if handle.can_read():
                    on_tokens(sum(len(output.generated_ids) for output in handle.read().values()))
                if handle.get_status() != is_running:
                    done.set()
                    del running[request_id]


class Handler(BaseHTTPRequestHandler):
    """`/v1/models`, `/health` and `/v1/completions`, streamed or not."""

    protocol_version = "HTTP/1.1"
    pipeline: Pipeline

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the base's
        """Say nothing."""

    def do_GET(self) -> None:
        """Whether it is there, and what it serves."""
        self._answer({"object": "list", "data": [{"id": "bench", "object": "model"}]})

    def do_POST(self) -> None:
        """A completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt, num_prompt = body["prompt"], self.pipeline.count(body["prompt"])
        is_stream = bool(body.get("stream"))
        total = 0
        if is_stream:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

        def on_tokens(number: int) -> None:
            nonlocal total
            total += number
            if number and is_stream:
                self._event({"choices": [{"index": 0, "text": WORD * number, "finish_reason": None}]})

        self.pipeline.generate(prompt, body["max_tokens"], on_tokens)
        usage = {"prompt_tokens": num_prompt, "completion_tokens": total, "total_tokens": num_prompt + total}
        last = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
        if not is_stream:
            last["choices"][0]["text"] = WORD * total
            self._answer({"object": "text_completion", "model": "bench", **last, "usage": usage})
            return
        self._event(last)
        if (body.get("stream_options") or {}).get("include_usage"):
            self._event({"choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, fields: dict[str, Any]) -> None:
        event = {"object": "text_completion", "model": "bench", "created": int(time.time()), **fields}
        self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        # A client that went away must not end the thread that steps.
        with contextlib.suppress(OSError):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _answer(self, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--max-num-batched-tokens", type=int, default=512)
    parser.add_argument("--cache-gib", type=int, default=4)
    options = parser.parse_args()
    Handler.pipeline = Pipeline(
        options.model,
        max_num_seqs=options.max_num_seqs,
        cache_gib=options.cache_gib,
        max_num_batched_tokens=options.max_num_batched_tokens,
    )
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.pipeline.run()


if __name__ == "__main__":
    main()
