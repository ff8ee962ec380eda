# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "django==5.2.19", "djangorestframework==3.18.3", "gunicorn==27.0.1",
#   "psycopg[binary,pool]==3.3.9",
# ]
# ///
"""Django REST framework: a model, a serializer and a view set, under gunicorn with threads."""

# ruff: noqa: DJ001, DJ008 - the columns are those that there are

import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings

parts = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path[1:],
            "USER": parts.username,
            "HOST": parse_qs(parts.query).get("host", [parts.hostname])[0],
            "PORT": parse_qs(parts.query).get("port", [parts.port])[0],
            "OPTIONS": {
                "pool": {"min_size": int(os.environ["POOL"]), "max_size": int(os.environ["POOL"])}
            },
        }
    },
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "UNAUTHENTICATED_USER": None,
    },
    INSTALLED_APPS=[__name__],
    ROOT_URLCONF=__name__,
    TIME_ZONE="UTC",
    USE_TZ=True,
)
django.setup()

# These read the settings.
from django.contrib.postgres.fields import ArrayField  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models, transaction  # noqa: E402
from django.db.models.functions import Now  # noqa: E402
from gunicorn.app.base import BaseApplication  # noqa: E402
from rest_framework import routers, serializers, status, viewsets  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402


class Json(models.JSONField):
    """JSON in a column of the type `json`, which psycopg has decoded already."""

    def from_db_value(self, value: Any, *_: Any) -> Any:  # noqa: ANN401 - JSON
        """Give what psycopg has read."""
        return value


class Uuid7(models.Func):
    """An id that Postgres gives."""

    function = "uuidv7"
    output_field = models.UUIDField()


class Columns(models.Model):
    """The columns of a claim; the database sets those with a default."""

    id = models.UUIDField(primary_key=True, db_default=Uuid7())
    version = models.IntegerField(db_default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    text = models.TextField()
    language = models.TextField(null=True)
    kind = models.TextField(null=True)
    speech_act = models.TextField(null=True)
    certainty = models.TextField()
    polarity = models.TextField()
    embedding = models.TextField()
    parent_claim_id = models.UUIDField(null=True)
    attributions = Json()
    appearances = Json()
    quantities = Json()
    parties = Json()
    places = Json()
    stated = Json(null=True)
    occurred = Json(null=True)
    relations = Json()
    validity = models.TextField()
    review_status = models.TextField()
    embargoed_until = models.DateTimeField(null=True)
    extraction = Json(null=True)
    assessments = Json()
    external_ids = Json()
    tags = ArrayField(models.TextField())
    note = models.TextField(null=True)

    class Meta:
        """What Django has to know of it."""

        abstract = True
        app_label = __name__


class Own(models.Model):
    """What every record has."""

    id = models.UUIDField(primary_key=True)
    version = models.IntegerField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        """What Django has to know of it."""

        abstract = True
        app_label = __name__
        managed = False


class Article(Own):
    """An article."""

    headline = models.TextField()
    url = models.TextField(null=True)
    publisher_id = models.UUIDField(null=True)
    authors = Json()
    language = models.TextField(null=True)
    published = Json(null=True)
    dateline = models.TextField(null=True)
    section = models.TextField(null=True)
    text = models.TextField(null=True)
    zones = Json()
    status = models.TextField()
    corrections = Json()
    relations = Json()
    archived_url = models.TextField(null=True)
    embargoed_until = models.DateTimeField(null=True)
    text_sha256 = models.TextField(null=True)
    text_length = models.IntegerField(null=True)
    external_ids = Json()
    tags = ArrayField(models.TextField())
    note = models.TextField(null=True)

    class Meta(Own.Meta):
        """Where articles are."""

        abstract = False
        db_table = 'rest"."articles'


class Source(Own):
    """A source."""

    kind = models.TextField()
    identification = models.TextField()
    name = models.TextField(null=True)
    description = models.TextField(null=True)
    names = Json()
    roles = Json()
    parent_id = models.UUIDField(null=True)
    members = Json()
    group_size = Json(null=True)
    country_code = models.TextField(null=True)
    url = models.TextField(null=True)
    confidentiality = models.TextField()
    merged_into_id = models.UUIDField(null=True)
    external_ids = Json()
    tags = ArrayField(models.TextField())
    note = models.TextField(null=True)

    class Meta(Own.Meta):
        """Where sources are."""

        abstract = False
        db_table = 'rest"."sources'


class Claim(Columns):
    """A claim."""

    articles = models.ManyToManyField(Article, through="ClaimArticle")
    sources = models.ManyToManyField(Source, through="ClaimSource")

    class Meta(Columns.Meta):
        """Where claims are."""

        abstract = False
        managed = False
        db_table = 'rest"."claims'


class ClaimArticle(models.Model):
    """A link of a claim to an article."""

    pk = models.CompositePrimaryKey("claim_id", "article_id")
    claim = models.ForeignKey(Claim, models.DO_NOTHING)
    article = models.ForeignKey(Article, models.DO_NOTHING)

    class Meta(Own.Meta):
        """Where these links are."""

        abstract = False
        db_table = 'rest"."claim_articles'


class ClaimSource(models.Model):
    """A link of a claim to a source."""

    pk = models.CompositePrimaryKey("claim_id", "source_id")
    claim = models.ForeignKey(Claim, models.DO_NOTHING)
    source = models.ForeignKey(Source, models.DO_NOTHING)

    class Meta(Own.Meta):
        """Where these links are."""

        abstract = False
        db_table = 'rest"."claim_sources'


class PlainClaim(Columns):
    """A claim of the table without triggers."""

    class Meta(Columns.Meta):
        """Where they are."""

        abstract = False
        managed = False
        db_table = 'plain"."claims'


class ClaimSerializer(serializers.ModelSerializer):
    """What a client reads and writes of a claim."""

    class Meta:
        """Which properties."""

        model = Claim
        exclude = ("articles", "sources")
        read_only_fields = ("id", "version", "created_at", "updated_at")


class ArticleSerializer(serializers.ModelSerializer):
    """What a client reads of an article."""

    class Meta:
        """Which properties."""

        model = Article
        fields = "__all__"


class SourceSerializer(serializers.ModelSerializer):
    """What a client reads of a source."""

    class Meta:
        """Which properties."""

        model = Source
        fields = "__all__"


class ExpandedSerializer(serializers.ModelSerializer):
    """What a client reads of a claim with its articles and sources."""

    articles = ArticleSerializer(many=True, read_only=True)
    sources = SourceSerializer(many=True, read_only=True)

    class Meta:
        """Which properties."""

        model = Claim
        fields = "__all__"


class ClaimViewSet(viewsets.ModelViewSet):
    """What can be done to claims."""

    queryset = Claim.objects.order_by("-created_at", "-id")
    serializer_class = ClaimSerializer

    def list(self, request: Request) -> Response:
        """List the newest claims, without a count of all."""
        newest = self.queryset.all()[: int(request.query_params["limit"])]
        return Response(self.get_serializer(newest, many=True).data)

    def partial_update(self, request: Request, pk: str) -> Response:
        """Change what is given of a claim, if its version is still the same."""
        with transaction.atomic():
            found = Claim.objects.select_for_update().get(pk=pk)
            if f'"{found.version}"' != request.headers["If-Match"]:
                return Response(status=status.HTTP_412_PRECONDITION_FAILED)
            serializer = self.get_serializer(found, data=request.data, partial=True)
            serializer.is_valid(raise_exception=True)
            for name, value in serializer.validated_data.items():
                setattr(found, name, value)
            found.save(update_fields=[*serializer.validated_data])
        found.refresh_from_db()
        return Response(self.get_serializer(found).data)


class ChangeViewSet(viewsets.ViewSet):
    """The claims that were changed behind a time, the earliest first."""

    def list(self, request: Request) -> Response:
        """List them."""
        changed = Claim.objects.filter(updated_at__gt=request.query_params["since"])
        page = changed.order_by("updated_at", "id")[: int(request.query_params["limit"])]
        return Response(ClaimSerializer(page, many=True).data)


class ExpandedViewSet(viewsets.ViewSet):
    """The newest claims with their articles and sources."""

    def list(self, request: Request) -> Response:
        """List them."""
        newest = Claim.objects.prefetch_related("articles", "sources")
        page = newest.order_by("-created_at", "-id")[: int(request.query_params["limit"])]
        return Response(ExpandedSerializer(page, many=True).data)


class ImportViewSet(viewsets.ViewSet):
    """Plain rows, all or none."""

    def create(self, request: Request) -> Response:
        """Write them."""
        serializer = ClaimSerializer(data=request.data, many=True)
        serializer.is_valid(raise_exception=True)
        rows = [PlainClaim(**each) for each in serializer.validated_data]
        created = PlainClaim.objects.bulk_create(rows)
        return Response({"created": len(created)}, status=status.HTTP_201_CREATED)


router = routers.SimpleRouter(trailing_slash=False)
router.register("claims", ClaimViewSet)
router.register("changes", ChangeViewSet, basename="change")
router.register("expanded", ExpandedViewSet, basename="expanded")
router.register("imports", ImportViewSet, basename="import")
urlpatterns = router.urls


class Gunicorn(BaseApplication):
    """One process, with a thread for each connection to Postgres."""

    def load_config(self) -> None:
        """Set what is not as gunicorn has it."""
        self.cfg.set("bind", f"127.0.0.1:{os.environ['PORT']}")
        self.cfg.set("threads", int(os.environ["POOL"]))
        self.cfg.set("keepalive", 60)
        self.cfg.set("loglevel", "warning")

    def load(self) -> Any:  # noqa: ANN401 - WSGI
        """Give the application."""
        return get_wsgi_application()


Gunicorn().run()
