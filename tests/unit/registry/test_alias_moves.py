"""However often a model is promoted and rolled back, the aliases always offer a way back."""

from hypothesis import given
from hypothesis import strategies as st

from raymi.errors import ConflictError
from raymi.registry.aliases import after_promotion, after_registration, after_rollback
from raymi.registry.version import Alias

MOVES = st.lists(st.one_of(st.just("rollback"), st.integers(1, 5)), max_size=20)


def after(moves):
    """Aliases and champions, oldest first, once every move that is possible was made."""
    aliases, champions = after_registration({}, 5), []
    for move in moves:
        try:
            aliases = (
                after_rollback(aliases, name="digits")
                if move == "rollback"
                else after_promotion(aliases, move)
            )
        except ConflictError:
            continue
        if not champions or champions[-1] != aliases[Alias.CHAMPION]:
            champions.append(aliases[Alias.CHAMPION])
    return aliases, champions


@given(MOVES)
def test_previous_is_always_the_champion_before_the_champion(moves):
    aliases, champions = after(moves)

    told = [aliases[a] for a in (Alias.PREVIOUS, Alias.CHAMPION) if a in aliases]

    assert told == champions[-2:]


@given(MOVES)
def test_two_rollbacks_are_none(moves):
    aliases, champions = after(moves)

    if len(champions) > 1:
        once = after_rollback(aliases, name="digits")
        assert once != aliases
        assert after_rollback(once, name="digits") == aliases


@given(MOVES)
def test_neither_promotion_nor_rollback_touches_the_candidate(moves):
    aliases, _ = after(moves)

    assert aliases[Alias.CANDIDATE] == 5
