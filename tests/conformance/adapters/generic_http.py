"""Messages as generic HTTP devices send them."""

from multidict import CIMultiDict

from tests.conformance.adapters import AdapterExample

KEY = "7f0c5f0e-2f4e-4a7e-9c5b-8d5a1f0b3c11"

EXAMPLES = [
    AdapterExample(
        address=KEY,
        attributes=CIMultiDict({"content-type": "application/json; charset=utf-8"}),
        body=b'{"temperature": 21.50, "place": "\xc3\x85rhus"}\n',
        device_key=KEY,
    ),
    AdapterExample(
        address=KEY.upper(),
        attributes=CIMultiDict({"idempotency-key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}),
        body=b"[1,2,{}]",
        device_key=KEY,
        source_key="8e03978e-40d5-43e8-bc93-6894a57f9324",
    ),
]
