"""Names of what the web logs and counts."""

from typing import Final

REQUEST_FAIL: Final = "web.request.fail"
"""error: a request met a defect of the hub; `error_id` is what its caller was told."""
REQUEST_MALFORMED: Final = "web.request.malformed"
"""debug: what came was not HTTP."""
LOGIN_SUCCEED: Final = "web.login.succeed"
LOGIN_FAIL: Final = "web.login.fail"
"""warning: somebody named the wrong password or account."""
ADMINISTRATOR_CREATE: Final = "web.administrator.create"
PASSWORD_RESET: Final = "web.password.reset"
HUB_AWAIT_DATABASE: Final = "hub.database.await"
"""warning: the server cannot be reached at the start; the process goes on when it can."""
HUB_READY: Final = "hub.process.ready"
HUB_SHUT_DOWN: Final = "hub.process.shut_down"
HUB_FAIL: Final = "hub.process.fail"
"""error: the actor tree has given up; the process ends, so that its service manager restarts it."""

INGEST_REQUESTS: Final = "tingbro_http_ingest_requests"
API_REQUESTS: Final = "tingbro_http_api_requests"
API_SECONDS: Final = "tingbro_http_api_request_duration_seconds"
