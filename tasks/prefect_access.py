"""How a Prefect server lets a client in over plain HTTP: a password, and a token before anything that could change something.

A server of ours asks for the token, so that a page of somebody else in the same browser can start nothing.
"""

import base64
import os
import uuid
from collections.abc import Generator, Mapping

import httpx

SERVER_PASSWORD, CLIENT_PASSWORD = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
_READING = ("GET", "HEAD", "OPTIONS")


class PrefectAccess(httpx.Auth):
    """For the ``auth`` of a client of the API at ``api_url``. The password is that of ``environment``, the client's before the server's."""

    requires_response_body = True

    def __init__(self, api_url: str, environment: Mapping[str, str] = os.environ) -> None:
        self._token_url = httpx.URL(f"{api_url.rstrip('/')}/csrf-token")
        password = environment.get(CLIENT_PASSWORD) or environment.get(SERVER_PASSWORD)
        self._headers: dict[str, str] = {}
        if password:
            self._headers["Authorization"] = f"Basic {base64.b64encode(password.encode()).decode('ascii')}"
        self._client = str(uuid.uuid4())
        self._token: dict[str, str] = {}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request with what it needs; once more with a new token where the one it had is refused."""
        request.headers.update(self._headers)
        if request.method in _READING:
            yield request
            return
        if not self._token:
            yield from self._fetch()
        request.headers.update(self._token)
        answer = yield request
        if answer.status_code == httpx.codes.FORBIDDEN:
            yield from self._fetch()
            request.headers.update(self._token)
            yield request

    def _fetch(self) -> Generator[httpx.Request, httpx.Response, None]:
        """A token of this client; none where the server asks for none."""
        answer = yield httpx.Request("GET", self._token_url, params={"client": self._client}, headers=self._headers)
        if answer.status_code == httpx.codes.OK:
            self._token = {"Prefect-Csrf-Token": str(answer.json()["token"]), "Prefect-Csrf-Client": self._client}
