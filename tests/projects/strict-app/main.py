"""An application that answers visitors of its own host name alone, by https, and a few times a minute each."""

import os
import time
from collections import defaultdict

from fastapi import FastAPI, Request
from fastapi.middleware.httpsredirect import HTTPSRedirectMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import PlainTextResponse

app = FastAPI()
LIMIT, WINDOW_SECONDS = 5, 60
asked: dict[str, list[float]] = defaultdict(list)


@app.middleware("http")
async def limited(request: Request, call_next):  # type: ignore[no-untyped-def]
    assert request.client, "whoever asks has an address"
    now, times = time.monotonic(), asked[request.client.host]
    times[:] = [one for one in times if one > now - WINDOW_SECONDS]
    if len(times) >= LIMIT:
        return PlainTextResponse("slow down", 429, {"Retry-After": str(int(times[0] + WINDOW_SECONDS - now) + 1)})
    times.append(now)
    return await call_next(request)


app.add_middleware(HTTPSRedirectMiddleware)
app.add_middleware(TrustedHostMiddleware, allowed_hosts=[os.environ["DOMAIN"]])


@app.get("/api/health")
def health(request: Request) -> dict[str, str]:
    return {"scheme": request.url.scheme, "client": request.client.host if request.client else ""}
