"""Whatever a session, a call or a stream does with one worker it does with two: the same tests, run once more.

Most requests in them are connections of their own, so that the kernel deals them out to both workers.
"""

from collections.abc import Iterator

import pytest
from tests.gateway import test_outside, test_questions, world
from tests.gateway.processes import two_workers
from tests.gateway.test_outside import (  # noqa: F401
    test_a_call_goes_on_when_its_stream_is_lost_and_the_rest_comes_by_last_event_id,
    test_a_legacy_client_hears_of_the_resources_that_it_subscribed_to,
    test_a_modern_client_hears_of_resources_on_its_subscription_stream,
    test_a_restarted_backend_is_told_again_what_the_client_wants,
    test_a_session_of_its_own_ends_with_the_clients,
    test_a_subscription_follows_a_backend_that_moved,
    test_an_event_that_nobody_sent_cannot_be_resumed,
)
from tests.gateway.test_questions import (  # noqa: F401
    running,
    test_a_made_up_state_is_invalid_params,
    test_a_modern_client_that_answers_nothing_is_asked_again,
    test_a_question_is_answered,
    test_a_question_outside_of_a_call_reaches_the_clients_get_stream,
    test_each_client_is_asked_what_its_own_call_needs,
)

# The eras differ on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


@pytest.fixture(autouse=True, scope="module")
def several_workers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (world, test_outside, test_questions):
            patch.setattr(module, "gateway", two_workers)
        yield
