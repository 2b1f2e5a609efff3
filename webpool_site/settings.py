"""Django settings; every value an operator may change comes from the environment.

The defaults run the embedded stack on one machine: SQLite, an embedded Valkey, loopback only.
"""

from __future__ import annotations

import os
from pathlib import Path

from browsers import locations
from webpool_site.databases import database
from webpool_site.environment import (
    env_bool,
    env_days,
    env_flags,
    env_float,
    env_int,
    env_level,
    env_list,
    env_memory_mb,
    env_networks,
    env_origins,
    env_share,
    env_some_of,
    in_order,
    is_loopback,
    load_secret_key,
    private_home,
    redis_url,
)

WEBPOOL_VERSION = "0.1.0"  # its one place: the package and the published schema take it from here
BASE_DIR = locations.ROOT
WEBPOOL_HOME = locations.default_home().resolve()
WEBPOOL_PROGRAM = locations.PROGRAM
private_home(WEBPOOL_HOME)

# --- web -----------------------------------------------------------------------------------
WEBPOOL_HOST = os.environ.get("WEBPOOL_HOST", "127.0.0.1")
PORT = env_int("PORT", 8000, least=1, most=65_535)
WEBPOOL_GRPC_PORT = env_int("WEBPOOL_GRPC_PORT", 0, most=65_535)  # 0: none
WEBPOOL_PRODUCTION = env_bool("WEBPOOL_PRODUCTION", False)
DEBUG = False
SECRET_KEY = load_secret_key(WEBPOOL_HOME / "secret_key")
ALLOWED_HOSTS = env_list("WEBPOOL_ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
# Callers of this machine need no key while the server is bound to loopback. Another host name means that a
# proxy passes strangers on: then nobody is let in without a key unless the operator asks for it.
WEBPOOL_ANONYMOUS = env_bool("WEBPOOL_ANONYMOUS", "WEBPOOL_ALLOWED_HOSTS" not in os.environ) and (
    is_loopback(WEBPOOL_HOST) and not WEBPOOL_PRODUCTION
)
# Whose word is taken for the address that a request came from (X-Forwarded-For), and that it came over TLS.
# The proxy that WEBPOOL_PRODUCTION asks for, or another host name on loopback, is one of this machine.
WEBPOOL_PROXIES = env_networks(
    "WEBPOOL_PROXIES",
    ["127.0.0.1", "::1"]
    if WEBPOOL_PRODUCTION or ("WEBPOOL_ALLOWED_HOSTS" in os.environ and is_loopback(WEBPOOL_HOST))
    else [],
)
# Pages of these origins may call the doors for programs; on loopback those of nobody else may write.
WEBPOOL_CORS_ORIGINS = env_origins("WEBPOOL_CORS_ORIGINS")

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin.apps.SimpleAdminConfig",  # its pages are imported with the URLs: workers have none
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "history",
    "browsers",
    "inference",
    "webpool_site",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "inference.views.callers.on_behalf_of_caller",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "webpool_site.urls"
ASGI_APPLICATION = "webpool_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [locations.DATA / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = WEBPOOL_HOME / "static"
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
if WEBPOOL_PRODUCTION:
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# --- database: the truth ---------------------------------------------------------------------
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": database(WEBPOOL_HOME, os.environ)}

# --- broker, tensor store, live state -----------------------------------------------------------
WEBPOOL_REDIS_URL = redis_url(WEBPOOL_HOME)
WEBPOOL_REDIS_MAXMEMORY_MB = env_int("WEBPOOL_REDIS_MAXMEMORY_MB", 2048, least=32)
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"

# --- the pool -------------------------------------------------------------------------------------
# Kinds of browser to run: "auto" is every installed kind once; "chromium,firefox:2" is explicit.
WEBPOOL_BROWSERS = os.environ.get("WEBPOOL_BROWSERS", "auto")
# An adaptive pool starts with those and is given more, or fewer, as its work needs.
WEBPOOL_POOL_ADAPTIVE = env_bool("WEBPOOL_POOL_ADAPTIVE", False)
WEBPOOL_POOL_MIN = env_int("WEBPOOL_POOL_MIN", 1, least=1)
WEBPOOL_POOL_MAX = env_int("WEBPOOL_POOL_MAX", 8, least=1)
WEBPOOL_POOL_GROW_ABOVE = env_share("WEBPOOL_POOL_GROW_ABOVE", 0.7)
WEBPOOL_POOL_SHRINK_BELOW = env_share("WEBPOOL_POOL_SHRINK_BELOW", 0.3, least=0)
WEBPOOL_POOL_COOLDOWN_S = env_float("WEBPOOL_POOL_COOLDOWN_S", 30.0)
WEBPOOL_POOL_MEMORY = env_share("WEBPOOL_POOL_MEMORY", 0.8)
WEBPOOL_REMOTE_URL = os.environ.get("WEBPOOL_REMOTE_URL", "")
WEBPOOL_ZONE = os.environ.get("WEBPOOL_ZONE", "local")
# Which backends of its browsers the pool uses, where they have them.
WEBPOOL_BACKENDS = env_some_of("WEBPOOL_BACKENDS", ["wasm", "webgpu", "webnn"])
# Further flags for the Chromiums that are started here, as a shell splits them.
WEBPOOL_CHROMIUM_FLAGS = env_flags("WEBPOOL_CHROMIUM_FLAGS")
# WebAssembly threads per browser.
WEBPOOL_THREADS = env_int("WEBPOOL_THREADS", 1, most=1024)
WEBPOOL_MEMORY_LIMIT_MB = {
    "chrome": env_memory_mb("WEBPOOL_MEMORY_LIMIT_CHROME_GB", 4.0),
    "edge": env_memory_mb("WEBPOOL_MEMORY_LIMIT_EDGE_GB", 4.0),
    "firefox": env_memory_mb("WEBPOOL_MEMORY_LIMIT_FIREFOX_GB", 3.5),
    "safari": env_memory_mb("WEBPOOL_MEMORY_LIMIT_SAFARI_GB", 2.5),
    "webkitgtk": env_memory_mb("WEBPOOL_MEMORY_LIMIT_WEBKITGTK_GB", 2.5),
    # Whatever browser the WebDriver at WEBPOOL_REMOTE_URL gives; its own memory cannot be measured.
    "remote": env_memory_mb("WEBPOOL_MEMORY_LIMIT_REMOTE_GB", 4.0),
}
# In how many more browsers a file in use is kept loaded, as far as there is room.
WEBPOOL_STANDBYS = env_int("WEBPOOL_STANDBYS", 1)
# How often an idle browser is asked for the known answer of a file that it holds.
WEBPOOL_CHECK_EVERY_S = env_float("WEBPOOL_CHECK_EVERY_S", 30.0, least=0.1)
# Above this share of the machine's memory its browsers give back what they can.
WEBPOOL_MACHINE_MEMORY = env_share("WEBPOOL_MACHINE_MEMORY", 0.9)
WEBPOOL_LEASE_S = env_float("WEBPOOL_LEASE_S", 2.5, least=0.1)
WEBPOOL_HEARTBEAT_S = env_float("WEBPOOL_HEARTBEAT_S", 0.5, least=0.05)
WEBPOOL_BROWSER_START_S = env_float("WEBPOOL_BROWSER_START_S", 90.0, least=1)

# --- history ---------------------------------------------------------------------------------
WEBPOOL_HISTORY_PATH = Path(
    os.environ.get("WEBPOOL_HISTORY_PATH") or WEBPOOL_HOME / "history" / "history.duckdb"
)
WEBPOOL_HISTORY_MEMORY_MB = env_int("WEBPOOL_HISTORY_MEMORY_MB", 1024, least=64)
# Scores and recommendations are recomputed once so many samples are new.
WEBPOOL_HISTORY_RECOMPUTE_SAMPLES = env_int("WEBPOOL_HISTORY_RECOMPUTE_SAMPLES", 50, least=1)
# Older samples are kept and shown, but decide nothing.
WEBPOOL_HISTORY_DAYS = env_days("WEBPOOL_HISTORY_DAYS", 30.0)
# Told as JSON by POST when a regression opens or closes; empty: nobody.
WEBPOOL_REGRESSION_WEBHOOK = os.environ.get("WEBPOOL_REGRESSION_WEBHOOK", "")

# --- runs: admission, deadlines, retention -------------------------------------------------
WEBPOOL_MAX_ACTIVE_RUNS = env_int("WEBPOOL_MAX_ACTIVE_RUNS", 512, least=1)
# What one key or person may have of it: half, so that no one stops the others.
WEBPOOL_MAX_RUNS_PER_OWNER = env_int(
    "WEBPOOL_MAX_RUNS_PER_OWNER", max(1, WEBPOOL_MAX_ACTIVE_RUNS // 2), least=1
)
# Each text that is held to a form has a process beside its last browser that follows it.
WEBPOOL_MAX_FORMS = env_int("WEBPOOL_MAX_FORMS", 32, least=1)
WEBPOOL_MAX_STORED_SHARE = env_share("WEBPOOL_MAX_STORED_SHARE", 0.25)
WEBPOOL_MAX_SHARDS_PER_RUN = env_int("WEBPOOL_MAX_SHARDS_PER_RUN", 256, least=1)
WEBPOOL_MAX_JOBS_PER_OWNER = env_int("WEBPOOL_MAX_JOBS_PER_OWNER", 32, least=1)
WEBPOOL_MAX_PLANS_PER_OWNER = env_int("WEBPOOL_MAX_PLANS_PER_OWNER", 64, least=1)
WEBPOOL_RUN_DEADLINE_S = env_float("WEBPOOL_RUN_DEADLINE_S", 120.0, least=0.1, most=86_400)
WEBPOOL_ATTEMPT_TIMEOUT_S = env_float("WEBPOOL_ATTEMPT_TIMEOUT_S", 60.0, least=0.1)
WEBPOOL_MAX_RETRIES = env_int("WEBPOOL_MAX_RETRIES", 3, most=100)
WEBPOOL_EXPLORE_SHARE = env_share("WEBPOOL_EXPLORE_SHARE", 0.02, least=0)
WEBPOOL_TENSOR_TTL_S = env_int("WEBPOOL_TENSOR_TTL_S", 900, least=1)
WEBPOOL_RUN_RETENTION_DAYS = env_days("WEBPOOL_RUN_RETENTION_DAYS", 7.0, least=0.001)
WEBPOOL_MAX_RUNS_KEPT = env_int("WEBPOOL_MAX_RUNS_KEPT", 200_000, least=1)
WEBPOOL_MAX_REQUEST_MB = env_int("WEBPOOL_MAX_REQUEST_MB", 256, least=1)
# Connections at once, and how long a request's head, or a kilobyte per second of its body, may take to come.
WEBPOOL_MAX_CONNECTIONS = env_int("WEBPOOL_MAX_CONNECTIONS", 900, least=1)
WEBPOOL_READ_S = env_float("WEBPOOL_READ_S", 20.0, least=0.1, most=86_400)
# A JSON document costs far more than its bytes: each of its values becomes an object before it is a tensor.
WEBPOOL_MAX_JSON_MB = env_int("WEBPOOL_MAX_JSON_MB", 16, least=1)
WEBPOOL_MAX_JSON_VALUES = env_int("WEBPOOL_MAX_JSON_VALUES", 1_000_000, least=1)
WEBPOOL_MAX_UPLOAD_MB = env_int("WEBPOOL_MAX_UPLOAD_MB", 4096, least=1)
# What reading a model, a tokenizer or a packed file may take, beside eight times the file, 60 s per GB.
WEBPOOL_SANDBOX_MEMORY_MB = env_int("WEBPOOL_SANDBOX_MEMORY_MB", 2048, least=64)
WEBPOOL_SANDBOX_SECONDS = env_float("WEBPOOL_SANDBOX_SECONDS", 120.0, least=1)
# How long a model's chat template may take to put a chat into words.
WEBPOOL_TEMPLATE_SECONDS = env_float("WEBPOOL_TEMPLATE_SECONDS", 10.0, least=0.1)
# A stage of a text that is not written on for so long, by a browser that had what it needs, goes elsewhere;
# without any browser that could take it for the length of a run's deadline, the text fails.
WEBPOOL_SESSION_STEP_S = env_float("WEBPOOL_SESSION_STEP_S", 60.0, least=0.1)
# Once enough of its steps were measured, twenty times the 95th percentile of them does, but at least so long.
WEBPOOL_SESSION_STALL_S = env_float("WEBPOOL_SESSION_STALL_S", 2.0, least=0.1)
# The most positions of a prompt that are computed at once: other texts of the browser wait for them.
WEBPOOL_PROMPT_STEP = env_int("WEBPOOL_PROMPT_STEP", 128, least=3)
# A stage that nothing came to for so long is closed.
WEBPOOL_SESSION_IDLE_S = env_float("WEBPOOL_SESSION_IDLE_S", 300.0, least=1)
# For how long the caches of a text that has ended are kept, for a prompt that begins alike; 0: not at all.
WEBPOOL_KEEP_S = env_float("WEBPOOL_KEEP_S", 300.0)
# How often the control worker looks for what no event told of.
WEBPOOL_SWEEP_S = env_float("WEBPOOL_SWEEP_S", 1.0, least=0.05)
in_order(globals(), "WEBPOOL_POOL_MIN", "WEBPOOL_POOL_MAX")
in_order(globals(), "WEBPOOL_POOL_SHRINK_BELOW", "WEBPOOL_POOL_GROW_ABOVE")
in_order(globals(), "WEBPOOL_HEARTBEAT_S", "WEBPOOL_LEASE_S", times=2)
in_order(globals(), "WEBPOOL_RUN_DEADLINE_S", "WEBPOOL_TENSOR_TTL_S", times=2)
DATA_UPLOAD_MAX_MEMORY_SIZE = WEBPOOL_MAX_REQUEST_MB * 2**20

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "inference.wire.queries.Described",
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "webpool",
    "DESCRIPTION": "ONNX inference on a pool of real web browsers.",
    "VERSION": WEBPOOL_VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "inference.views.published.complete",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "BrowserStateEnum": "browsers.models.BrowserState",
        "RunStateEnum": "inference.models.runs.RUN_STATES",
        "StepStateEnum": "inference.models.runs.SHARD_STATES",
        "PlatformEnum": "inference.scheduling.wishes.PLATFORMS",
        "StrategyEnum": "inference.models.Strategy",
        "RedundancyEnum": "inference.models.Redundancy",
        "AskedStrategyEnum": "inference.runs.options.STRATEGIES",
        "AskedRedundancyEnum": "inference.runs.options.REDUNDANCIES",
    },
}
UNFOLD = {
    "SITE_TITLE": "webpool",
    "SITE_HEADER": "webpool",
    "STYLES": ["/static/inference/pool.css"],
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": "/static/inference/icon.svg"}
    ],
    "COMMAND": {"search_callback": "inference.admin.finding.find"},
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": "inference.admin.sidebar.groups",
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    # A line or two per task would cost more than some shards compute.
    "loggers": {
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        # What any stranger can cause: refusals, and addresses that point nowhere.
        "django.request": {"level": "ERROR"},
        "django.security": {"level": "CRITICAL"},
    },
    "root": {"handlers": ["stderr"], "level": env_level("WEBPOOL_LOG_LEVEL", "INFO")},
}
