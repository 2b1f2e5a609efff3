"""The tables of inference: catalog, runs with steps and attempts, texts, keys, batch jobs, the audit log."""

from __future__ import annotations

from inference.core.lifecycle import RunState, ShardState
from inference.models.audit import AuditEntry, Entrance
from inference.models.batches import Batch, BatchJob, BatchState, JobState
from inference.models.catalog import ModelType, OnnxModel, Plan, PlanShard, StepKind, Strategy
from inference.models.comparisons import Comparison, ComparisonCell, ComparisonState
from inference.models.generation import (
    GenerationMemory,
    GenerationRecovery,
    GenerationSession,
    GenerationStage,
    GenerationStandby,
    SessionState,
    stage_of,
)
from inference.models.keys import ApiKey
from inference.models.runs import (
    Attempt,
    Outcome,
    Redundancy,
    Run,
    RunQuerySet,
    RunShard,
)

__all__ = [
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Batch",
    "BatchJob",
    "BatchState",
    "Comparison",
    "ComparisonCell",
    "ComparisonState",
    "Entrance",
    "GenerationMemory",
    "GenerationRecovery",
    "GenerationSession",
    "GenerationStage",
    "GenerationStandby",
    "JobState",
    "ModelType",
    "OnnxModel",
    "Outcome",
    "Plan",
    "PlanShard",
    "Redundancy",
    "Run",
    "RunQuerySet",
    "RunShard",
    "RunState",
    "SessionState",
    "ShardState",
    "StepKind",
    "Strategy",
    "stage_of",
]
