"""Whose page an address is: registrable domains from the shipped public-suffix list, and hosts that many share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import idna
import tldextract

# Site builders that give each customer a sub-domain and are not in the public-suffix list's private part.
_HOSTING_SUFFIXES = (
    "bandcamp.com", "bigcartel.com", "blogspot.ca", "blogspot.co.uk", "blogspot.com.au", "blogspot.de", "blogspot.fr",
    "business.site", "canva.site", "company.site", "ghost.io", "gitbook.io", "godaddysites.com", "hs-sites.com",
    "hubspotpagebuilder.com", "jimdo.com", "jimdofree.com", "jimdosite.com", "livejournal.com", "mailchimpsites.com",
    "medium.com", "mybigcommerce.com", "mykajabi.com", "mystrikingly.com", "site123.me", "squarespace.com",
    "strikingly.com", "substack.com", "teachable.com", "thinkific.com", "tumblr.com", "typepad.com", "ueniweb.com",
    "webnode.com", "webnode.page", "weebly.com", "wix.com", "wordpress.com", "wpengine.com", "yolasite.com",
)  # fmt: skip
# Hosts where an org has a page, never the host.
_SHARED_HOSTS = (
    "about.me amazon.ca amazon.co.uk amazon.com angi.com apple.com bbb.org behance.net bitbucket.org bsky.app "
    "crunchbase.com discord.com ebay.com etsy.com eventbrite.com facebook.com fb.com g2.com github.com gitlab.com "
    "glassdoor.com google.ca google.co.uk google.com homestars.com houzz.com indeed.com instagram.com line.me "
    "linkedin.com linktr.ee medium.com meetup.com notion.so patreon.com pinterest.com quora.com reddit.com "
    "snapchat.com soundcloud.com spotify.com substack.com t.me telegram.me thumbtack.com threads.net tiktok.com "
    "tripadvisor.com trustpilot.com tumblr.com twitch.tv twitter.com vimeo.com vk.com weibo.com whatsapp.com "
    "wikipedia.org wordpress.com x.com yellowpages.ca yellowpages.com yelp.ca yelp.com youtu.be youtube.com "
    "zhihu.com"
)


@dataclass(frozen=True, slots=True)
class Site:
    """One website of an org; on a shared host `path` (lower-case) and `query` must match as well."""

    domain: str
    path: str = ""
    query: frozenset[str] = frozenset()


class Page(NamedTuple):
    """The parts of a page's address that say whose it is."""

    host: str
    path: str
    query: str


@cache
def _extractor() -> tldextract.TLDExtract:
    # The shipped snapshot only: no download, no cache folder.
    return tldextract.TLDExtract(
        suffix_list_urls=(), cache_dir=None, extra_suffixes=_HOSTING_SUFFIXES, include_psl_private_domains=True
    )


@lru_cache(maxsize=16384)
def registrable_domain(host: str) -> str:
    """Return the domain that one owner registered: "blog.acme.co.uk" gives "acme.co.uk".

    Under a hosting suffix it is the customer's sub-domain ("acme.github.io"); without a known suffix, and for
    IP addresses, the host itself. Lower-case, in Unicode as written.
    """
    host = host.strip(".").lower().removeprefix("www.")
    return _extractor().extract_str(host).top_domain_under_public_suffix or host


@lru_cache(maxsize=16384)
def domain_label(host: str) -> str:
    """Return the name in a host: "sunlife" of "www.sunlife.ca"; empty when there is none."""
    return _extractor().extract_str(host).domain


@lru_cache(maxsize=16384)
def ascii_host(host: str) -> str:
    """Return an international host as DNS knows it, so that two spellings compare equal."""
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return host


@cache
def _shared_hosts() -> frozenset[str]:
    return frozenset(_SHARED_HOSTS.split())


def is_shared_host(host: str) -> bool:
    """Tell whether pages of many owners stand on this host."""
    return registrable_domain(host) in _shared_hosts()


def split_website(website: object) -> SplitResult | None:
    """Return the parts of a website as a customer types it, with or without a scheme; None when it is none."""
    if not isinstance(website, str) or not website.strip():
        return None
    typed = website.strip()
    try:
        parts = urlsplit(typed if "://" in typed else f"https://{typed.lstrip('/')}")
        return parts if parts.hostname and "." in parts.hostname else None
    except ValueError:
        return None


def org_sites(websites: Iterable[str]) -> frozenset[Site]:
    """Return the sites of an org; what is not a website is left out."""
    return _sites((websites,) if isinstance(websites, str) else tuple(w for w in websites or () if isinstance(w, str)))


@lru_cache(maxsize=1024)
def _sites(websites: tuple[str, ...]) -> frozenset[Site]:
    sites = set()
    for parts in filter(None, map(split_website, websites)):
        host = parts.hostname or ""
        domain = ascii_host(registrable_domain(host))
        path = parts.path.rstrip("/").lower()
        # "profile.php?id=…", "/store/apps/details?id=…": what else a query holds says nothing about the owner.
        query = frozenset(part for part in parts.query.lower().split("&") if part.startswith("id="))
        sites.add(Site(domain, path, query) if is_shared_host(host) else Site(domain))
    return frozenset(sites)


def page_parts(canonical: str) -> Page:
    """Return host (without port), path and query of a canonical URL, which needs no checks any more."""
    rest = canonical.partition("://")[2].partition("#")[0]
    place, _, query = rest.partition("?")
    host, slash, path = place.partition("/")
    return Page(host.partition(":")[0], slash + path, query)


def is_own_page(canonical: str, sites: frozenset[Site]) -> bool:
    """Tell whether a canonical URL is a page of one of the sites."""
    if not sites:
        return False
    page = page_parts(canonical)
    domain = ascii_host(registrable_domain(page.host))
    path = f"{page.path.lower()}/"
    query = frozenset(page.query.lower().split("&"))
    return any(domain == site.domain and path.startswith(f"{site.path}/") and site.query <= query for site in sites)
