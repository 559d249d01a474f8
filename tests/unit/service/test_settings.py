import pytest

from service.settings import ServiceSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_loopback_addresses_ask_for_no_key_unless_told_to(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ServiceSettings().asks_for_keys(host)
    monkeypatch.setenv("PLUMAGE_REQUIRE_KEYS", "1")
    assert ServiceSettings().asks_for_keys(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "plumage.example", "localhost.example", None])
def test_other_addresses_ask_for_keys_unless_told_not_to(host: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ServiceSettings().asks_for_keys(host)
    monkeypatch.setenv("PLUMAGE_ALLOW_UNAUTHENTICATED", "1")
    assert not ServiceSettings().asks_for_keys(host)


def test_asking_and_not_asking_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        ServiceSettings(allow_unauthenticated=True, require_keys=True)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMAGE_MAX_PICTURE_PIXELS", "1000000")
    assert ServiceSettings().picture_limits.max_pixels == 1_000_000


@pytest.mark.parametrize("url", ["plumage.example", "ftp://plumage.example", "https://x/?a=b"])
def test_a_public_address_is_an_http_url(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        ServiceSettings(public_url=url)
