import pytest

from service.settings import ServiceSettings, UnsafeBinding


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_loopback_addresses_need_no_opt_in(host: str) -> None:
    ServiceSettings().check_binding(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "plumage.example", "localhost.example"])
def test_other_addresses_need_it(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsafeBinding, match="PLUMAGE_ALLOW_UNAUTHENTICATED"):
        ServiceSettings().check_binding(host)
    monkeypatch.setenv("PLUMAGE_ALLOW_UNAUTHENTICATED", "1")
    ServiceSettings().check_binding(host)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMAGE_MAX_PICTURE_PIXELS", "1000000")
    assert ServiceSettings().picture_limits.max_pixels == 1_000_000


@pytest.mark.parametrize("url", ["plumage.example", "ftp://plumage.example", "https://x/?a=b"])
def test_a_public_address_is_an_http_url(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        ServiceSettings(public_url=url)
