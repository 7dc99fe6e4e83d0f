from ias_zoo.testing import conformance

test_contract = conformance("dots")
