"""HTTP API v1 on top of any backend: of Ray Serve in service, of this process in tests."""

from __future__ import annotations

from fastapi import Depends, FastAPI

from models.version import VERSION
from serve.about import add_service_endpoints
from serve.context import Context
from serve.guards import Guard
from serve.jobs import add_jobs
from serve.live import add_live
from serve.metrics import Measured, add_metrics
from serve.page import add_page
from serve.problems import add_problem_handlers
from serve.recognition import add_recognition
from serve.settings import ServeSettings
from serve.tasks import Backend

ABOUT = """Signing in, glosses out: keypoints of a clip are answered by the glosses that were signed, with their times and confidences, or by the
likeliest isolated signs. Errors are problem documents (RFC 9457) with a stable `code`; 503 says when to come back. Nothing of a request is kept."""


def build_api(backend: Backend, settings: ServeSettings) -> FastAPI:
    """The application. Raises ValueError where the file of API keys holds none."""
    app = FastAPI(title="signray", version=VERSION, description=ABOUT, docs_url=None, redoc_url=None)  # their pages load scripts of other hosts
    context = Context(backend=backend, settings=settings)
    app.state.context, app.state.gate, app.state.backend = context, context.gate, backend  # for those who end it, and for tests
    app.add_middleware(Guard)
    app.add_middleware(Measured, metrics=context.metrics)
    add_problem_handlers(app)
    add_recognition(app, context)
    add_service_endpoints(app, context)
    add_live(app, context)
    add_jobs(app, context)
    add_metrics(app, context.metrics, [Depends(context.admit)])
    add_page(app)
    return app
