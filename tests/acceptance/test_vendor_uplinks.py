"""Uplinks of real devices, through the example decoders, come out as the makers publish them."""

import asyncio
import json

from tests.support.city import City
from tests.support.hub_process import ROOT
from tests.support.receivers import Receiver
from tests.vectors.vendor_uplinks import VENDOR_UPLINKS, UplinkVector

DECODERS = ROOT / "examples" / "decoders"
TIMEOUT_S = 20


def body_of(vector: UplinkVector) -> bytes:
    return json.dumps({"payload_hex": vector.payload_hex, "fPort": vector.f_port}).encode()


async def test_pushed_bodies_equal_the_published_values(city: City) -> None:
    by_decoder: dict[str, list[UplinkVector]] = {}
    for vector in VENDOR_UPLINKS:
        by_decoder.setdefault(vector.decoder, []).append(vector)
    makers = {name.partition("/")[0].removesuffix(".js") for name in by_decoder}
    assert len(makers) >= 3

    for name, vectors in by_decoder.items():
        async with Receiver() as receiver:
            device = await city.device()
            decoder_id = await city.decoder((DECODERS / name).read_text(encoding="utf-8"))
            await city.client.connect([device], await city.target(receiver.url), decoder_id)
            for vector in vectors:
                answer = await city.client.post(device.api_key, body_of(vector))
                assert answer.status == 204
            async with asyncio.timeout(TIMEOUT_S):
                await receiver.wait_for(len(vectors))
            pushed = [json.loads(request.body) for request in receiver.requests]
            assert pushed == [vector.data for vector in vectors], name
