import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from basicsr_m2trans.apps.annotation.chat_endpoint import ATTEMPTS, ChatRefiner
from basicsr_m2trans.apps.annotation.refinement import instructions
from basicsr_m2trans.apps.annotation.stages import LanguageControls
from basicsr_m2trans.utils.errors import InputError

CONTROLS = LanguageControls(length=10)
KEY = "a-secret"


def completion(content) -> bytes:
    return json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": content}}]}
    ).encode()


GOOD = (200, completion(" A clear\nimage. "))


class Stub(BaseHTTPRequestHandler):
    """Plays the server's list of answers: (status, body), 'hang', or 'break off'
    within the body.
    """

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), json.loads(body)))
        answer = self.server.answers.pop(0)
        if answer == "hang":
            self.server.ended.wait()
            return
        status, content = (200, GOOD[1]) if answer == "break off" else answer
        self.send_response(status)
        self.send_header("Content-Length", len(content) + (50 if answer == "break off" else 0))
        if status in (301, 302):
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    server.answers, server.requests, server.ended = [], [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def refine(server):
    return ChatRefiner(
        f"http://127.0.0.1:{server.server_port}/v1/", "tiny", KEY, timeout=0.3, pause=0.0
    )


def test_the_request_and_the_answer(server, refine):
    server.answers = [GOOD]
    assert refine("a grey picture", CONTROLS) == "A clear image."
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": instructions(CONTROLS)},
            {"role": "user", "content": "Caption: a grey picture"},
        ],
    }


def test_without_a_key_none_is_sent(server, refine):
    server.answers = [GOOD]
    refine.key = None
    refine("a grey picture", CONTROLS)
    assert "Authorization" not in server.requests[0][1]


def test_the_key_is_not_replaced_by_one_of_netrc(server, refine, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.answers = [GOOD]
    refine("a grey picture", CONTROLS)
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "failure",
    [
        "hang",
        "break off",
        (429, b"slow down"),
        (503, b""),
        (200, b"<html>not JSON"),
        (200, b'{"choices": []}'),
        (200, b"[]"),
        (200, completion("")),
        (200, completion(None)),
    ],
)
def test_passing_failures_are_tried_again(server, refine, failure):
    server.answers = [failure, failure, GOOD]
    assert refine("a grey picture", CONTROLS) == "A clear image."
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("hang", r"no answer within 0\.3 s, 4 times"),
        ("break off", "one that broke off, 4 times"),
        ((500, b"oh no"), "status 500, 4 times"),
        ((200, b"nonsense"), "not a chat completion in JSON, 4 times"),
    ],
)
def test_lasting_failures_end_the_run(server, refine, failure, message):
    server.answers = [failure] * ATTEMPTS
    with pytest.raises(InputError, match=message) as caught:
        refine("a grey picture", CONTROLS)
    assert str(caught.value).startswith(f"endpoint {refine.url}: ")
    assert KEY not in str(caught.value)
    assert len(server.requests) == ATTEMPTS


@pytest.mark.parametrize("status", [301, 400, 401, 404])
def test_refusals_end_the_run_at_once(server, refine, status):
    server.answers = [(status, b"no such model")]
    with pytest.raises(
        InputError, match=rf"refuses with status {status} \(no such model\); check the address"
    ):
        refine("a grey picture", CONTROLS)
    assert len(server.requests) == 1


def test_a_refusal_that_repeats_the_key_does_not_show_it(server, refine):
    server.answers = [(401, f"incorrect key {KEY}".encode())]
    with pytest.raises(InputError, match=r"\(incorrect key \*\*\*\)"):
        refine("a grey picture", CONTROLS)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY} x", f"{KEY}\u2603"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key):
    with pytest.raises(InputError, match="the key holds a blank") as caught:
        ChatRefiner("http://localhost/v1", "tiny", key)
    assert KEY not in str(caught.value)


def test_a_model_that_has_nothing_to_say_gives_nothing(server, refine):
    server.answers = [(200, completion(" \n"))] * ATTEMPTS
    assert refine("a grey picture", CONTROLS) == ""


def test_pauses_grow(server, refine, monkeypatch):
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    refine.pause = 1.5
    server.answers = [(503, b"")] * (ATTEMPTS - 1) + [GOOD]
    refine("a grey picture", CONTROLS)
    assert pauses == [1.5, 3.0, 6.0]


def test_no_server(server, refine):
    server.server_close()
    with pytest.raises(InputError, match="no connection"):
        refine("a grey picture", CONTROLS)


def test_impossible_addresses_are_refused():
    with pytest.raises(InputError, match="write it as http"):
        ChatRefiner("localhost:8000/v1", "tiny")
    with pytest.raises(InputError, match="above 0 seconds"):
        ChatRefiner("http://localhost/v1", "tiny", timeout=0)
    with pytest.raises(InputError, match="check the address"):
        ChatRefiner("http://[::1/v1", "tiny")("a grey picture", CONTROLS)
