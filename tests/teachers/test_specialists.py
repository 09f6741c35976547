import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.signals import Batch, Mixture
from tutelage.teachers import Ensemble, Predictor, Specialist, Specialists, Teacher
from tutelage.wants import OUTPUT, Fields

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
DOMAINS = ["a", "b", "c", "a", "c", "a"]
ROWS = {"a": [0, 3, 5], "b": [1], "c": [2, 4]}
CPU = torch.device("cpu")


def net(seed, columns=4, hidden=5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, columns))


NETS = {"a": net(0), "b": net(1), "c": net(2)}
BATCH = Batch(X, torch.arange(6), torch.arange(10, 16), DOMAINS)


class Recording(Teacher):
    """Remembers each batch that it was asked about, and each device that it was made ready on."""

    def __init__(self, log=None, name=None):
        self.batches, self.log, self.name = [], log, name

    def signals(self, batch, fields):
        self.batches.append(batch)
        return tl.Signals(batch.inputs.sum(dim=1, keepdim=True))

    @contextmanager
    def ready(self, device):
        self.log.append((self.name, "to", device.type))
        try:
            yield
        finally:
            self.log.append((self.name, "from", device.type))

    def fingerprint(self):
        return f"recording {self.name}"


def by_own_teacher(batch=X, layer=slice(None)):
    rows = [NETS[name][layer](row.unsqueeze(0)) for name, row in zip(DOMAINS, batch, strict=True)]
    return torch.cat(rows).detach()


def test_each_example_gets_the_output_of_its_domains_teacher():
    output = Specialists(NETS).signals(BATCH, OUTPUT).output
    torch.testing.assert_close(output, by_own_teacher())
    assert not output.is_inference()


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_batch_does_not_matter(seed):
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    output = Specialists(NETS).signals(BATCH[order], OUTPUT).output
    torch.testing.assert_close(output, by_own_teacher()[order])


def test_each_teacher_is_given_its_own_rows_only():
    members = {name: Recording() for name in NETS}
    mixture = Mixture(torch.arange(6), torch.rand(6))
    batch = Batch({"x": X, "y": (X, X)}, torch.arange(6), torch.arange(6), DOMAINS, 0.5, 2, mixture)
    for member in members.values():
        member.signals = lambda asked, _fields, member=member: (
            member.batches.append(asked) or tl.Signals(asked.inputs["x"])
        )
    output = Specialists(members).signals(batch, OUTPUT).output
    assert torch.equal(output, X)
    for name, member in members.items():
        [seen] = member.batches
        assert torch.equal(seen.inputs["x"], X[ROWS[name]])
        assert torch.equal(seen.inputs["y"][1], X[ROWS[name]])
        assert seen.labels.tolist() == seen.index.tolist() == ROWS[name]
        assert seen.domain == [name] * len(ROWS[name])
        assert torch.equal(seen.mixture.fraction, mixture.fraction[ROWS[name]])
        assert (seen.progress, seen.replicas) == (0.5, 2)


def test_a_batch_of_one_domain_is_passed_on_unchanged():
    members = {name: Recording() for name in NETS}
    batch = Batch(X, domain=("b",) * 6)
    Specialists(members).signals(batch, OUTPUT)
    assert members["b"].batches[0] is batch
    assert not members["a"].batches


def test_an_empty_batch_has_outputs_of_the_right_shape():
    found = Specialists(NETS).signals(Batch(X[:0], domain=[]), OUTPUT)
    assert found.output.shape == (0, 4)


def test_domains_may_be_numbers():
    numbers = torch.tensor([ord(each) for each in DOMAINS])
    teacher = Specialists({ord(name): each for name, each in NETS.items()})
    output = teacher.signals(Batch(X, domain=numbers), OUTPUT).output
    torch.testing.assert_close(output, by_own_teacher())


def test_the_generalist_is_used_for_other_domains():
    teacher = Specialists({"a": NETS["a"], "b": NETS["b"]}, generalist=NETS["c"])
    torch.testing.assert_close(teacher.signals(BATCH, OUTPUT).output, by_own_teacher())


def test_features_are_joined_too():
    signals = Specialists(NETS).signals(BATCH, Fields(features=frozenset({"0", "2:input"})))
    torch.testing.assert_close(signals.features["0"], by_own_teacher(layer=slice(1)))
    torch.testing.assert_close(signals.features["2:input"], by_own_teacher(layer=slice(2)))
    assert signals.output is None


def test_values_are_routed_as_logits_are():
    members = {name: Predictor(lambda x, k=k: x[:, 0] * k) for k, name in enumerate("abc")}
    output = Specialists(members).signals(BATCH, OUTPUT).output
    factors = torch.tensor([[float("abc".index(each))] for each in DOMAINS])
    torch.testing.assert_close(output, X[:, :1] * factors)


def test_no_teacher_runs_if_nothing_is_required():
    assert Specialists({"a": Recording()}).signals(Batch(X), Fields()).output is None


class TestMixedKinds:
    def test_teachers_of_all_and_of_some_classes_can_be_combined(self):
        teacher = Specialists({
            "a": NETS["a"],
            "b": Specialist(NETS["b"], labels=[3, 1, 0]),
            "c": Specialist(NETS["c"], labels=[2, 0, 1, 3], other_class=False),
        })  # fmt: skip
        output = teacher.signals(BATCH, OUTPUT).output
        logits = by_own_teacher()
        assert output.ids.tolist() == [
            [0, 1, 2, 3], [3, 1, 0, -1], [2, 0, 1, 3], [0, 1, 2, 3], [2, 0, 1, 3], [0, 1, 2, 3]
        ]  # fmt: skip
        torch.testing.assert_close(output.logits[[0, 2, 3, 4, 5]], logits[[0, 2, 3, 4, 5]])
        torch.testing.assert_close(output.logits[1, :3], logits[1, :3])
        assert output.logits[1, 3] == -torch.inf
        torch.testing.assert_close(output.other[1], logits[1, 3])
        assert output.other[[0, 2, 3, 4, 5]].tolist() == [-torch.inf] * 5

    @pytest.mark.parametrize(("columns", "labels"), [(3, [3, 0]), (2, [0, 1])])
    def test_plain_logits_of_fewer_classes_are_refused(self, columns, labels):
        """Whose they are is not known: class 0 is anybody's first."""
        teacher = Specialists(
            {"a": nn.Linear(3, columns), "b": Specialist(nn.Linear(3, 3), labels), "c": NETS["c"]}
        )
        with pytest.raises(
            ModelError, match=r"all classes must have one logit for each, got .*'a'"
        ):
            teacher.signals(BATCH, OUTPUT)

    def test_a_domain_may_have_an_ensemble(self):
        teacher = Specialists({"a": Ensemble([NETS["a"], NETS["a"]]), **dict([*NETS.items()][1:])})
        torch.testing.assert_close(teacher.signals(BATCH, OUTPUT).output, by_own_teacher())


class TestReady:
    def test_all_are_moved_to_the_device_and_back(self):
        log = []
        teacher = Specialists({"a": Recording(log, "a")}, generalist=Recording(log, "g"))
        with teacher.ready(torch.device("meta")):
            assert log == [("a", "to", "meta"), ("g", "to", "meta")]
        assert log[2:] == [("g", "from", "meta"), ("a", "from", "meta")]

    def test_with_offload_one_at_a_time_is_on_the_device(self):
        log = []
        members = {name: Recording(log, name) for name in "abc"}
        teacher = Specialists(members, offload=True)
        with teacher.ready(torch.device("meta")):
            assert log == [(name, "to", "cpu") for name in "abc"]
            log.clear()
            for names in (["a"], ["a"], ["b"], ["b", "b", "a", "c"]):
                teacher.signals(Batch(X[: len(names)], domain=names), OUTPUT)
        moves = [(name, way) for name, way, device in log if device == "meta"]
        # At any moment at most one: whoever came last has gone before the next comes.
        assert moves[::2] == [(name, "to") for name in "abac"]
        assert moves[1::2] == [(name, "from") for name in "abac"]
        assert log[-3:] == [(name, "from", "cpu") for name in "cba"]

    def test_after_an_error_no_teacher_is_left_on_the_device(self):
        log = []
        teacher = Specialists({"a": Recording(log, "a")}, offload=True)
        batch = Batch(X[:2], domain=["a", "z"])
        with teacher.ready(torch.device("meta")):
            teacher.signals(batch[:1], OUTPUT)
            with pytest.raises(DataError):
                teacher.signals(batch, OUTPUT)
        assert log[-2:] == [("a", "from", "meta"), ("a", "from", "cpu")]

    def test_a_teacher_that_could_not_be_moved_is_moved_for_the_next_batch(self):
        class Full(Recording):
            @contextmanager
            def ready(self, device):
                if device.type == "meta" and not self.batches:
                    self.batches.append("failed")
                    raise torch.OutOfMemoryError("full")
                with super().ready(device):
                    yield

        log = []
        teacher = Specialists({"a": Recording(log, "a"), "b": Full(log, "b")}, offload=True)
        with teacher.ready(torch.device("meta")):
            teacher.signals(Batch(X[:1], domain=["a"]), OUTPUT)
            with pytest.raises(torch.OutOfMemoryError):
                teacher.signals(Batch(X[:1], domain=["b"]), OUTPUT)
            teacher.signals(Batch(X[:1], domain=["b"]), OUTPUT)
        moves = [(name, way) for name, way, device in log if device == "meta"]
        assert moves == [("a", "to"), ("a", "from"), ("b", "to"), ("b", "from")]

    def test_a_real_module_is_unchanged_afterwards(self):
        class Moving(nn.Linear):
            moves = ()

            def to(self, device):
                self.moves = (*self.moves, device.type)
                return self

        modules = {name: Moving(3, 4) for name in "ab"}
        with Specialists(modules, offload=True).ready(torch.device("meta")) as _:
            pass
        assert [each.moves for each in modules.values()] == [(), ()]
        teacher = Specialists(modules, offload=True)
        with teacher.ready(torch.device("meta")):
            teacher.signals(Batch(X[:3], domain=["a", "b", "a"]), OUTPUT)
            teacher.signals(Batch(X[:1], domain=["a"]), OUTPUT)
        assert modules["a"].moves == ("meta", "cpu") * 2
        assert modules["b"].moves == ("meta", "cpu")
        assert all(each.training for each in modules.values())


class TestFingerprint:
    def test_it_changes_with_domains_teachers_and_generalist(self):
        a, b = NETS["a"], NETS["b"]
        teachers = [
            Specialists({"a": a, "b": b}),
            Specialists({"a": b, "b": a}),
            Specialists({"a": a, "c": b}),
            Specialists({"a": a}),
            Specialists({"a": a}, generalist=b),
            Specialists({0: a}),
            Specialists({"0": a}),
        ]
        assert len({each.fingerprint() for each in teachers}) == len(teachers)

    def test_it_does_not_depend_on_offload(self):
        again = Specialists(
            {name: copy.deepcopy(each) for name, each in NETS.items()}, offload=True
        )
        assert again.fingerprint() == Specialists(NETS).fingerprint()

    def test_the_order_of_the_domains_does_not_matter(self):
        turned = dict(reversed(NETS.items()))
        assert Specialists(turned).fingerprint() == Specialists(NETS).fingerprint()


class TestBadInput:
    def test_no_domain_in_the_data(self):
        with pytest.raises(DataError, match=r"got a batch without; .*tl\.data\.domains"):
            Specialists(NETS, generalist=NETS["a"]).signals(Batch(X), OUTPUT)

    @pytest.mark.parametrize("domain", [["a", "b", "d"], ["a", None, "a"], torch.tensor([0, 1, 2])])
    def test_an_unknown_domain(self, domain):
        with pytest.raises(
            DataError, match=r"must be one of \['a', 'b', 'c'\], got (0|'d'|None); .*`generalist`"
        ):
            Specialists(NETS).signals(Batch(X[:3], domain=domain), OUTPUT)

    def test_a_value_that_is_not_a_teacher(self):
        with pytest.raises(ModelError, match=r"Module, a Teacher.*got int"):
            Specialists({"a": 3})

    def test_outputs_of_different_shapes(self):
        with pytest.raises(
            ModelError,
            match=r"one logit for each, got \{\"'a'\": \[4\], \"'b'\": \[5\]\} .*Spec",
        ):
            Specialists({"a": NETS["a"], "b": net(1, 5)}).signals(
                Batch(X[:2], domain=["a", "b"]), OUTPUT
            )


def test_there_is_a_specialist_or_a_generalist():
    with pytest.raises(ArgumentError, match="`teachers` must name at least one domain, got none"):
        Specialists({})
    alone = Specialists({}, generalist=nn.Linear(2, 3))
    batch = Batch(torch.ones(2, 2), domain=["photo", "sketch"])
    assert alone.signals(batch, Fields(output=True)).output.shape == (2, 3)
