"""The open data of a data target, between the API and the database."""

from collections.abc import Mapping
from typing import Any

from storage.repositories.open_data import Dataset, DatasetFields


def dataset_fields(body: Mapping[str, Any] | None) -> DatasetFields | None:
    """What is to be stored of `openDataDkDataset`; None where a data target publishes nothing."""
    if body is None:
        return None
    return DatasetFields(
        name=body["name"],
        description=body["description"],
        keywords=tuple(body["keywords"] or ()),
        license=body["license"],
        author_name=body["author_name"],
        author_email=body["author_email"],
        resource_title=body["resource_title"],
    )


def dataset_view(dataset: Dataset | None) -> Mapping[str, Any] | None:
    """What a data target shows as its `openDataDkDataset`."""
    if dataset is None:
        return None
    return {
        "id": dataset.id,
        "stamps": dataset.stamps,
        "name": dataset.fields.name,
        "description": dataset.fields.description,
        "keywords": list(dataset.fields.keywords),
        "license": dataset.fields.license,
        "author_name": dataset.fields.author_name,
        "author_email": dataset.fields.author_email,
        "resource_title": dataset.fields.resource_title,
    }
