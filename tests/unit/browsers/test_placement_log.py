"""Node placements, read from lines that onnxruntime-web 1.30 wrote."""

from __future__ import annotations

import pytest

from browsers.core.errors import UnsupportedOperation
from browsers.core.placement_log import check_claim, parse_placement

VERIFY = "2026-11-24 02:15:49.577 [V:onnxruntime:, session_state.cc:1383 VerifyEachNodeIsAssignedToAnEp] "
PLACED = VERIFY + " Node(s) placed on [{}]. Number of nodes: {}"
NODE = VERIFY + "  {} ({})"

WASM = [
    VERIFY + "Node placements",
    VERIFY + " All nodes placed on [CPUExecutionProvider]. Number of nodes: 7",
]
WEBGPU = [
    VERIFY + "Node placements",
    PLACED.format("CPUExecutionProvider", 1),
    NODE.format("NonZero", ""),
    PLACED.format("WebGpuExecutionProvider", 4),
    NODE.format("Softmax", "a (b) c"),
    NODE.format("MatMul", ""),
    NODE.format("Gemm", "/MatMulAddFusion"),
    NODE.format("MemcpyToHost", "Memcpy"),
]
WEBNN = [
    (
        "2026-11-24 02:33:00.1 [I:onnxruntime:, webnn_execution_provider.cc:119 GetCapability] "
        "WebNNExecutionProvider::GetCapability, number of partitions supported by WebNN: 1 "
        "number of nodes in the graph: 11 number of nodes supported by WebNN: 10"
    ),
    VERIFY + "Node placements",
    PLACED.format("CPUExecutionProvider", 1),
    NODE.format("NonZero", ""),
    PLACED.format("WebNNExecutionProvider", 1),
    NODE.format("WebNN_16406_0", "WebNNExecutionProvider_WebNN_16406_0_0"),
]


def test_all_on_one_provider() -> None:
    placement = parse_placement(WASM)
    assert placement.nodes == {"CPUExecutionProvider": 7}
    check_claim(placement, backend="wasm", strict=True)


def test_nodes_and_operators_per_provider_without_inserted_copies() -> None:
    placement = parse_placement(WEBGPU)
    assert placement.nodes == {"CPUExecutionProvider": 1, "WebGpuExecutionProvider": 3}
    assert placement.ops["WebGpuExecutionProvider"] == {"Softmax": 1, "MatMul": 1, "Gemm": 1}
    check_claim(placement, backend="webgpu", strict=False)


def test_webnn_counts_the_nodes_it_fused() -> None:
    placement = parse_placement(WEBNN)
    assert placement.nodes == {"CPUExecutionProvider": 1, "WebNNExecutionProvider": 10}
    check_claim(placement, backend="webnn", strict=False)


def test_webnn_without_a_partition_claims_nothing() -> None:
    lines = [WEBNN[0].replace("WebNN: 10", "WebNN: 0"), *WASM]
    with pytest.raises(UnsupportedOperation, match="took none"):
        check_claim(parse_placement(lines), backend="webnn", strict=False)


def test_strict_allows_no_cpu_node() -> None:
    with pytest.raises(UnsupportedOperation, match=r"leaves 1 nodes .*\(1 NonZero\)"):
        check_claim(parse_placement(WEBGPU), backend="webgpu", strict=True)


def test_a_heavy_operator_on_the_cpu_forbids_the_claim() -> None:
    lines = [line.replace("NonZero", "LSTM") for line in WEBGPU]
    with pytest.raises(UnsupportedOperation, match="webgpu lacks 1 LSTM"):
        check_claim(parse_placement(lines), backend="webgpu", strict=False)


def test_a_backend_that_took_nothing_claims_nothing() -> None:
    with pytest.raises(UnsupportedOperation, match="all 7 ran on the CPU"):
        check_claim(parse_placement(WASM), backend="webgpu", strict=False)


def test_silence_proves_nothing() -> None:
    placement = parse_placement(["something else"])
    assert placement.nodes == {}
    check_claim(placement, backend="wasm", strict=False)
    with pytest.raises(UnsupportedOperation, match="cannot be proven"):
        check_claim(placement, backend="webgpu", strict=False)
