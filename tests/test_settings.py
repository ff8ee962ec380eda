"""What the settings promise: read once, checked, secrets kept."""

import pytest

from api import settings
from api.settings import Settings, SettingsError, masked
from schemas.shapes import fields


def test_defaults_need_no_environment() -> None:
    assert settings.read({}) == Settings()
    assert settings.read({}).host == "127.0.0.1"


def test_values_come_from_the_environment() -> None:
    found = settings.read(
        {
            "DATABASE_URL": "postgresql://somewhere/db",
            "CLAIM_RECORDS_PORT": "80",
            "CLAIM_RECORDS_LOCK_SECONDS": "0.5",
            "CLAIM_RECORDS_LOG_FORMAT": "json",
        }
    )
    assert found.database_url == "postgresql://somewhere/db"
    assert (found.port, found.lock_seconds, found.log_format) == (80, 0.5, "json")


def test_empty_is_unset() -> None:
    assert settings.read({"DATABASE_URL": "", "CLAIM_RECORDS_PORT": ""}) == Settings()


def test_unknown_names_are_refused_all_at_once() -> None:
    with pytest.raises(SettingsError, match="CLAIM_RECORDS_HOSTS, CLAIM_RECORDS_PROT is no"):
        settings.read({"CLAIM_RECORDS_PROT": "1", "CLAIM_RECORDS_HOSTS": "x", "OTHER": "y"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "eighty"),
        ("WORKERS", "0"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "json\n"),
        ("STOP_SECONDS", "nan"),
    ],
)
def test_invalid_values_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"CLAIM_RECORDS_{name}="):
        settings.read({f"CLAIM_RECORDS_{name}": value})


@pytest.mark.parametrize("name", ["DATABASE_URL", "CLAIM_RECORDS_MIGRATE_URL"])
def test_a_wrong_url_is_refused_without_showing_it(name: str) -> None:
    with pytest.raises(SettingsError, match=name) as refused:
        settings.read({name: "me:s3cret"})
    assert "s3cret" not in str(refused.value)


def test_every_setting_is_described() -> None:
    for field in fields(Settings):
        assert "description" in repr(field.type), field.name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@host:5432/db", "postgresql://u:***@host:5432/db"),
        ("postgresql://u:sec/r@e:t@host/db", "postgresql://u:***@host/db"),
        ("postgresql://:secret@host/db", "postgresql://:***@host/db"),
        ("postgresql://u@h/db?password=secret&port=1", "postgresql://u@h/db?password=***&port=1"),
        ("postgresql://u@h/db?sslpassword=secret", "postgresql://u@h/db?sslpassword=***"),
        ("host=h password=secret dbname=d", "***"),
        ("postgresql://u@host/db", "postgresql://u@host/db"),
        ("me:secret", "***"),
    ],
)
def test_passwords_are_never_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
