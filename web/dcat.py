"""What an organization publishes, as the catalogues of open data portals read it.

Two forms of the same: the JSON of Project Open Data 1.1, which OS2iot publishes and the JSON
harvester of CKAN reads, and DCAT-AP as JSON-LD. In both, lists are lists also when they are empty,
nothing is null, and a data set's identifier is the address of its data, which never changes:
harvesters delete a data set whose identifier they do not find again.

Source: https://project-open-data.cio.gov/v1.1/schema; DCAT-AP 3.0, https://semiceu.github.io/DCAT-AP.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from storage.instants import instant
from storage.repositories.open_data import Catalog, Dataset
from web.answers import iso_milliseconds
from web.routing import API_ROOT

FEED_PATH: Final = f"{API_ROOT}/open-data-dk-sharing"

_SCHEMA: Final = "https://project-open-data.cio.gov/v1.1/schema"
_PUBLIC: Final = "http://publications.europa.eu/resource/authority/access-right/PUBLIC"
_JSON_FILE: Final = "http://publications.europa.eu/resource/authority/file-type/JSON"
_JSON_MEDIA: Final = "https://www.iana.org/assignments/media-types/application/json"
# Inline, so that nobody has to fetch it in order to understand the rest.
_CONTEXT: Final = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}

Json = Mapping[str, Any]


def catalog_url(base_url: str, organization_id: int) -> str:
    return f"{base_url}{FEED_PATH}/{organization_id}"


def data_url(base_url: str, organization_id: int, share_id: int) -> str:
    return f"{catalog_url(base_url, organization_id)}/data/{share_id}"


def project_open_data(catalog: Catalog, base_url: str) -> Json:
    """The catalogue in the JSON of Project Open Data."""
    return {
        "@context": f"{_SCHEMA}/catalog.jsonld",
        "@type": "dcat:Catalog",
        "conformsTo": _SCHEMA,
        "describedBy": f"{_SCHEMA}/catalog.json",
        "dataset": [
            _dataset(one, catalog, data_url(base_url, catalog.organization_id, one.id))
            for one in catalog.datasets
        ],
    }


def dcat_ap(catalog: Catalog, base_url: str) -> Json:
    """The catalogue in DCAT-AP, as JSON-LD."""
    url = catalog_url(base_url, catalog.organization_id)
    publisher = f"{url}#publisher"
    return {
        "@context": _CONTEXT,
        "@id": url,
        "@type": "dcat:Catalog",
        "dct:title": _english(f"Open data of {catalog.organization_name}"),
        "dct:description": _english(
            f"The latest values of the sensors that {catalog.organization_name} publishes."
        ),
        "dct:publisher": {
            "@id": publisher,
            "@type": "foaf:Agent",
            "foaf:name": catalog.organization_name,
        },
        "dcat:dataset": [
            _linked_dataset(one, publisher, data_url(base_url, catalog.organization_id, one.id))
            for one in catalog.datasets
        ],
    }


def _dataset(dataset: Dataset, catalog: Catalog, url: str) -> Json:
    fields = dataset.fields
    return {
        "@type": "dcat:Dataset",
        "accessLevel": "public",
        "identifier": url,
        "title": fields.name,
        "description": fields.description,
        "keyword": list(fields.keywords),
        "issued": _iso(dataset.stamps.created_at),
        "modified": _iso(dataset.stamps.updated_at),
        "publisher": {"name": catalog.organization_name},
        "contactPoint": {
            "@type": "vcard:Contact",
            "fn": fields.author_name,
            "hasEmail": _mailto(fields.author_email),
        },
        "distribution": [
            {
                "@type": "dcat:Distribution",
                "mediaType": "application/json",
                "format": "JSON",
                "license": fields.license,
                "accessURL": url,
                "title": fields.resource_title,
            }
        ],
    }


def _linked_dataset(dataset: Dataset, publisher: str, url: str) -> Json:
    fields = dataset.fields
    return {
        "@id": f"{url}#dataset",
        "@type": "dcat:Dataset",
        "dct:identifier": url,
        "dct:title": fields.name,
        "dct:description": fields.description,
        "dcat:keyword": list(fields.keywords),
        "dct:issued": _instant(dataset.stamps.created_at),
        "dct:modified": _instant(dataset.stamps.updated_at),
        "dct:publisher": {"@id": publisher},
        "dct:accessRights": {"@id": _PUBLIC},
        "dcat:contactPoint": {
            "@type": "vcard:Kind",
            "vcard:fn": fields.author_name,
            "vcard:hasEmail": {"@id": _mailto(fields.author_email)},
        },
        "dcat:distribution": [
            {
                "@id": f"{url}#distribution",
                "@type": "dcat:Distribution",
                "dct:title": fields.resource_title,
                "dct:license": {"@id": fields.license},
                "dct:format": {"@id": _JSON_FILE},
                "dcat:mediaType": {"@id": _JSON_MEDIA},
                "dcat:accessURL": {"@id": url},
                "dcat:downloadURL": {"@id": url},
            }
        ],
    }


def _english(text: str) -> Json:
    return {"@value": text, "@language": "en"}


def _instant(us: int) -> Json:
    return {"@value": _iso(us), "@type": "xsd:dateTime"}


def _iso(us: int) -> str:
    return iso_milliseconds(instant(us))


def _mailto(email: str) -> str:
    # Some signs that an address may have are none of an IRI's.
    return f"mailto:{quote(email, safe='@!$&*+-./=_~')}"
