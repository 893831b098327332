"""What the whole world may fetch."""

import gzip
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from ckanext.dcat.converters import dcat_to_ckan
from rdflib import DCAT, DCTERMS, FOAF, RDF, Graph, Literal, Namespace, URIRef

from tests.support.api_client import Api
from tests.support.open_data_scene import DATASET, FEED, Scene
from web.feed_answers import preferred

HUB = "http://localhost:3000"
VCARD = Namespace("http://www.w3.org/2006/vcard/ns#")


@pytest.fixture
async def scene(api: Api) -> Scene:
    return await Scene(api).laid()


# -- the catalogue ----------------------------------------------------------------------------


async def test_catalogue_is_that_of_project_open_data(scene: Scene) -> None:
    answer = await scene.fetch(scene.catalog)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json == {
        "@context": "https://project-open-data.cio.gov/v1.1/schema/catalog.jsonld",
        "@type": "dcat:Catalog",
        "conformsTo": "https://project-open-data.cio.gov/v1.1/schema",
        "describedBy": "https://project-open-data.cio.gov/v1.1/schema/catalog.json",
        "dataset": [
            {
                "@type": "dcat:Dataset",
                "accessLevel": "public",
                "identifier": f"{HUB}/api/v1/{scene.data}",
                "title": "Indeklima på skoler",
                "description": "Temperatur og CO2.\nHvert kvarter.",
                "keyword": ["indeklima", "CO2 måling", "skole-data_1.0"],
                "issued": "2026-01-02T03:04:05.000Z",
                "modified": "2026-01-02T03:04:05.000Z",
                "publisher": {"name": "name 1"},
                "contactPoint": {
                    "@type": "vcard:Contact",
                    "fn": "Ada Lovelace",
                    "hasEmail": "mailto:ada+data@example.org",
                },
                "distribution": [
                    {
                        "@type": "dcat:Distribution",
                        "mediaType": "application/json",
                        "format": "JSON",
                        "license": "https://creativecommons.org/licenses/by/4.0/",
                        "accessURL": f"{HUB}/api/v1/{scene.data}",
                        "title": "Seneste værdier",
                    }
                ],
            }
        ],
    }


async def test_harvester_of_ckan_understands_every_data_set(scene: Scene) -> None:
    await scene.publish(name="Uden nøgleord", keywords=None)
    datasets = (await scene.fetch(scene.catalog)).json["dataset"]
    packages = [dcat_to_ckan(dataset) for dataset in datasets]
    assert [package["title"] for package in packages] == ["Indeklima på skoler", "Uden nøgleord"]
    assert [[tag["name"] for tag in package["tags"]] for package in packages] == [
        DATASET["keywords"],
        [],
    ]
    for package, dataset in zip(packages, datasets, strict=True):
        extras = {extra["key"]: extra["value"] for extra in package["extras"]}
        assert extras["guid"] == dataset["identifier"]
        assert extras["dcat_publisher_name"] == "name 1"
        (resource,) = package["resources"]
        assert (resource["url"], resource["format"]) == (dataset["identifier"], "JSON")


def _is_null_anywhere(value: Any) -> bool:
    if isinstance(value, dict | list):
        inner: Iterable[Any] = value.values() if isinstance(value, dict) else value
        return any(map(_is_null_anywhere, inner))
    return value is None


async def test_nothing_is_null_in_any_form_of_the_catalogue(scene: Scene) -> None:
    await scene.publish(keywords=None)
    for query in ("", "?format=json", "?format=jsonld"):
        assert not _is_null_anywhere((await scene.fetch(scene.catalog + query)).json)


async def test_page_that_a_harvester_asks_for_is_the_same_again(scene: Scene) -> None:
    first = await scene.fetch(scene.catalog)
    second = await scene.fetch(f"{scene.catalog}?page=2&something=else")
    assert (second.status, second.raw) == (200, first.raw)


async def test_organization_without_open_data_has_an_empty_catalogue(scene: Scene) -> None:
    empty = await scene.api.organization()
    assert (await scene.fetch(f"{FEED}/{empty}")).json["dataset"] == []


async def test_catalogue_of_nobody_is_not_found(scene: Scene) -> None:
    answer = await scene.fetch(f"{FEED}/9999")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (404, "*")
    assert (await scene.fetch(f"{FEED}/aarhus")).status == 400


async def test_catalogue_follows_within_seconds(scene: Scene) -> None:
    first = await scene.fetch(scene.catalog)
    await scene.publish(name="Other")
    assert (await scene.fetch(scene.catalog)).raw == first.raw
    scene.later()
    assert len((await scene.fetch(scene.catalog)).json["dataset"]) == 2


# -- DCAT-AP ----------------------------------------------------------------------------------


JSON, JSON_LD = "application/json", "application/ld+json"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/ld+json", JSON_LD),
        ("Application/LD+JSON ; q=1, application/json;q=0.5", JSON_LD),
        ("application/*;q=0.3, application/ld+json;q=0.4", JSON_LD),
        ("*/*", JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        ("application/ld+json;q=0", JSON),
        ("application/ld+json;q=much, application/json", JSON),
        ("application/*, */*;q=0.1", JSON),
        ("text/turtle", JSON),
        (" , ;", JSON),
        ("", JSON),
    ],
)
def test_preferred_form_is_the_one_with_the_greatest_weight(accept: str, expected: str) -> None:
    assert preferred(accept, (JSON, JSON_LD)) == expected


async def test_form_of_the_catalogue_is_the_one_that_is_preferred(scene: Scene) -> None:
    answer = await scene.fetch(scene.catalog, Accept=JSON_LD)
    assert answer.headers["Content-Type"] == JSON_LD
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    answer = await scene.fetch(scene.catalog, Accept="*/*")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_form_may_be_named_in_the_address(scene: Scene) -> None:
    answer = await scene.fetch(f"{scene.catalog}?format=jsonld", Accept="application/json")
    assert answer.headers["Content-Type"] == "application/ld+json"
    answer = await scene.fetch(f"{scene.catalog}?format=json", Accept="application/ld+json")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert (await scene.fetch(f"{scene.catalog}?format=turtle")).status == 400


# The parser of rdflib uses what rdflib warns of.
@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
async def test_linked_data_holds_what_dcat_ap_demands(scene: Scene) -> None:
    await scene.publish(name="Other", keywords=None)
    answer = await scene.fetch(scene.catalog, Accept="application/ld+json")
    graph = Graph().parse(data=answer.raw, format="json-ld")
    catalog = URIRef(f"{HUB}/api/v1/{scene.catalog}")
    assert set(graph.subjects(RDF.type, DCAT.Catalog)) == {catalog}
    assert graph.value(catalog, DCTERMS.title)
    assert graph.value(catalog, DCTERMS.description)
    publisher = graph.value(catalog, DCTERMS.publisher)
    assert graph.value(publisher, FOAF.name) == Literal("name 1")
    datasets = set(graph.objects(catalog, DCAT.dataset))
    assert datasets == set(graph.subjects(RDF.type, DCAT.Dataset))
    assert len(datasets) == 2
    for dataset in datasets:
        address = graph.value(dataset, DCTERMS.identifier)
        for mandatory in (DCTERMS.title, DCTERMS.description, DCTERMS.modified):
            assert graph.value(dataset, mandatory)
        assert graph.value(dataset, DCTERMS.publisher) == publisher
        contact = graph.value(dataset, DCAT.contactPoint)
        assert graph.value(contact, VCARD.hasEmail) == URIRef("mailto:ada+data@example.org")
        (distribution,) = graph.objects(dataset, DCAT.distribution)
        assert graph.value(distribution, DCAT.accessURL) == URIRef(str(address))
        assert graph.value(distribution, DCTERMS.license) == URIRef(DATASET["license"])
    keywords = {str(keyword) for keyword in graph.objects(None, DCAT.keyword)}
    assert keywords == set(DATASET["keywords"])


# -- the data ---------------------------------------------------------------------------------


async def test_share_in_which_nothing_is_known_says_so(scene: Scene) -> None:
    await scene.device()
    answer = await scene.fetch(scene.data)
    assert (answer.status, answer.raw) == (200, b'{"error":"NoData"}')


async def test_data_are_the_latest_values_to_the_letter(scene: Scene) -> None:
    raw = await scene.device()
    decoded, decoder = await scene.decoded_device()
    failed, broken = await scene.decoded_device()
    await scene.sent(raw, b'{"a":1}')
    await scene.sent(raw, b'{"a": 12345678901234567890.10}')
    await scene.sent(decoded, b"{}", decoder_id=decoder, state="decoded")
    await scene.sent(failed, b"{}", decoder_id=broken, state="failed")
    answer = await scene.fetch(scene.data)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.raw == (
        b'[{"a": 12345678901234567890.10},{"t": 1.50},'
        b'{"error":"Could not decode data for device(%d)"}]' % failed
    )


async def test_data_of_another_organization_or_of_no_share_are_not_found(scene: Scene) -> None:
    other = await scene.api.organization()
    share = scene.data.rpartition("/")[2]
    assert (await scene.fetch(f"{FEED}/{other}/data/{share}")).status == 404
    assert (await scene.fetch(f"{FEED}/{scene.organization}/data/9999")).status == 404
    assert (await scene.fetch(f"{FEED}/9999/data/{share}")).status == 404


# -- how both are answered --------------------------------------------------------------------


async def test_head_is_answered_like_get_without_the_body(scene: Scene) -> None:
    await scene.sent(await scene.device(), b'{"a":1}')
    for path in (scene.catalog, scene.data):
        got = await scene.fetch(path)
        head = await scene.anonymous.call("HEAD", path)
        assert (head.status, head.raw) == (200, b"")
        for name in ("Content-Length", "Content-Type", "Etag", "Last-Modified", "Cache-Control"):
            assert head.headers[name] == got.headers[name], name
        assert int(head.headers["Content-Length"]) == len(got.raw)
    assert (await scene.anonymous.call("HEAD", f"{FEED}/9999")).status == 404


async def test_who_has_it_already_is_told_so(scene: Scene) -> None:
    await scene.sent(await scene.device(), b'{"a":1}')
    first = await scene.fetch(scene.data)
    assert first.headers["Cache-Control"] == "public, max-age=10"
    assert first.headers["Last-Modified"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    tag = first.headers["Etag"]
    for known in (
        {"If-None-Match": tag},
        {"If-None-Match": f'"other", {tag[2:]}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        answer = await scene.fetch(scene.data, **known)
        assert (answer.status, answer.raw, answer.headers["Etag"]) == (304, b"", tag), known
    for unknown in (
        {"If-None-Match": '"other"', "If-Modified-Since": first.headers["Last-Modified"]},
        {"If-Modified-Since": "Fri, 02 Jan 2026 03:04:04 GMT"},
        {"If-Modified-Since": "yesterday"},
    ):
        assert (await scene.fetch(scene.data, **unknown)).status == 200, unknown


async def test_change_makes_what_a_harvester_has_stale(scene: Scene) -> None:
    device = await scene.device()
    await scene.sent(device, b'{"a":1}')
    first = await scene.fetch(scene.data)
    scene.later()
    same = await scene.fetch(scene.data, **{"If-None-Match": first.headers["Etag"]})
    assert same.status == 304
    await scene.sent(device, b'{"a":2}')
    scene.later()
    headers = {"If-Modified-Since": first.headers["Last-Modified"]}
    changed = await scene.fetch(scene.data, **headers)
    assert (changed.status, changed.raw) == (200, b'[{"a":2}]')


async def test_large_share_is_compressed_for_who_can_take_that(scene: Scene) -> None:
    payload = orjson.dumps(list(range(3_000)))
    await scene.sent(await scene.device(), payload)
    plain = await scene.fetch(scene.data, **{"Accept-Encoding": "identity"})
    assert plain.raw == b"[" + payload + b"]"
    url = f"http://127.0.0.1:{scene.api.port}/api/v1/{scene.data}"
    headers = {"Accept-Encoding": "gzip"}
    async with scene.api.session.get(url, headers=headers) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert int(response.headers["Content-Length"]) == len(gzip.compress(plain.raw, 5, mtime=0))
        assert await response.read() == plain.raw
        assert response.headers["Etag"] == plain.headers["Etag"]


async def test_page_of_any_origin_may_read_it(scene: Scene) -> None:
    for path in (scene.catalog, scene.data):
        answer = await scene.fetch(path, Origin="https://example.org")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        preflight = await scene.anonymous.call("OPTIONS", path)
        assert preflight.headers["Access-Control-Allow-Methods"] == "GET, HEAD"


async def test_feeds_are_read_only(scene: Scene) -> None:
    for path in (scene.catalog, scene.data):
        assert (await scene.anonymous.call("POST", path, {})).status == 405
