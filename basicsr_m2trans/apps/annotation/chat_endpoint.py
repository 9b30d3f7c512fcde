"""Refinement by a language model behind an OpenAI-compatible HTTP endpoint (Sec. IV, Eq. 18)."""

import time

import requests

from basicsr_m2trans.apps.annotation.refinement import instructions, tidy
from basicsr_m2trans.apps.annotation.stages import LanguageControls
from basicsr_m2trans.utils.errors import InputError

ATTEMPTS = 4
# Too many requests, and failures of the server or of what stands before it, pass.
PASSING_STATUS = (408, 429, 500, 502, 503, 504)


class ChatRefiner:
    """A language model that is asked by POST to `URL/chat/completions` (Eq. 18).

    Time-outs, lost connections, overload, answers that are not JSON and empty ones are tried again,
    `ATTEMPTS` times in all.

    Args:
        url: the endpoint up to and without `/chat/completions`, such as `http://localhost:8000/v1`.
        model: the model's name there.
        key: secret sent as bearer token, or None; it appears in no message.
        timeout: seconds to wait for the connection, and between two parts of an answer.
        pause: seconds before the second attempt; doubled before each further one.

    Raises:
        InputError: `url` is not an http or https address, `timeout` is not above 0, or `key` holds
            a blank, a line break or another character that HTTP cannot send.
    """

    def __init__(
        self, url: str, model: str, key: str | None = None, timeout: float = 60, pause: float = 1
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(
                f"endpoint {url}: write it as http://... or https://..., up to and without /chat"
            )
        if not timeout > 0:
            raise InputError(f"endpoint {url}: the time-out must be above 0 seconds, not {timeout}")
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            # Python's HTTP client would refuse it with a message that holds it.
            unfit = "a blank, a line break or a letter that is not ASCII"
            raise InputError(f"endpoint {url}: the key holds {unfit}")
        self.url = f"{url.rstrip('/')}/chat/completions"
        self.model = model
        self.key = key
        self.timeout = timeout
        self.pause = pause

    def __call__(self, description: str, controls: LanguageControls) -> str:
        """The refined description, empty if the model kept answering nothing; see `stages.Refiner`.

        Raises:
            InputError: the endpoint refused the request, or failed in every attempt.
        """
        messages = [
            {"role": "system", "content": instructions(controls)},
            {"role": "user", "content": f"Caption: {description}"},
        ]
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                text = tidy(self._ask(messages), controls.length)
            except _PassingFailure as failure:
                problem = str(failure)
                continue
            if text:
                return text
            problem = ""
        if problem:
            remedy = "check that it runs, then repeat the command"
            raise InputError(f"endpoint {self.url}: {problem}, {ATTEMPTS} times; {remedy}")
        return ""

    def _ask(self, messages: list[dict[str, str]]) -> str:
        """One request; the answer's text."""
        try:
            response = requests.post(
                self.url,
                json={"model": self.model, "messages": messages},
                auth=self._authorise,
                timeout=self.timeout,
                allow_redirects=False,  # requests would repeat it as GET
            )
        except requests.Timeout as error:
            raise _PassingFailure(f"no answer within {self.timeout:g} s") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise _PassingFailure("no connection, or one that broke off") from error
        except requests.RequestException as error:
            raise InputError(f"endpoint {self.url}: {error}; check the address") from error
        if response.status_code in PASSING_STATUS:
            raise _PassingFailure(f"status {response.status_code}")
        if response.status_code != requests.codes.ok:
            answer = response.text.replace(self.key, "***") if self.key else response.text
            raise InputError(
                f"endpoint {self.url}: refuses with status {response.status_code} "
                f"({answer.strip()[:200]}); check the address, the model's name and the key"
            )
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise _PassingFailure("an answer that is not a chat completion in JSON") from error
        return content if isinstance(content, str) else ""

    def _authorise(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the key. Given as a plain header, requests would let a ~/.netrc entry replace it."""
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


class _PassingFailure(Exception):
    """A failure that may not come again."""
