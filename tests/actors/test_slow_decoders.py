"""A decoder that takes long costs its devices a while, and none of their messages."""

from pathlib import Path

from protocols.decoders import DecoderPool, DecoderSettings
from storage.tables import entities
from tests.support.hub_in_process import HubInProcess
from tests.support.receivers import Receiver

# Longer than a trial may take.
SLOW = """
function decode(payload) {
  const until = Date.now() + 60;
  while (Date.now() < until);
  return payload;
}
"""


async def test_messages_of_a_decoder_that_is_cut_on_its_first_call_arrive_later_and_in_order(
    tmp_path: Path,
) -> None:
    pool = DecoderPool(DecoderSettings(workers=1, trial_limit_s=0.02, rest_factor=20))
    async with Receiver() as receiver, HubInProcess(tmp_path / "hub.db", pool) as hub:
        application_id = await hub.application()
        device_id, api_key = await hub.device(application_id)
        decoder_id = await hub.insert(entities.payload_decoder, name="slow", decoding_function=SLOW)
        target_id = await hub.target(application_id, receiver.url)
        await hub.connect(target_id, decoder_id, device_id)
        for number in range(5):
            await hub.post(api_key, number)
        balance = await hub.settled(timeout_s=30.0)

    assert [request.body for request in receiver.requests] == [b'{"n":%d}' % n for n in range(5)]
    assert (balance.jobs.decoded, balance.jobs.failed) == (5, 0)
