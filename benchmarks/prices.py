"""What the plan on paper assumes: list prices in USD of us-east-1, on demand, and what was never measured.

None of these could be confirmed from here: no machine of ours reached the vendors' price pages. Where each is from
stands in docs/capacity.md.
"""

ARM_VCPU_HOUR, ARM_GB_HOUR = 0.03238, 0.00356
X86_VCPU_HOUR, X86_GB_HOUR = 0.04048, 0.004445
TRANSITIONS_1000 = 0.025
RDS_HOUR, RDS_GB_MONTH = 0.065, 0.115
NAT_HOUR = 0.045
VENDOR_RECORD = 0.0015

SHARD_VCPU, SHARD_GB = 1, 2
START_MINUTES = 1
SLOWEST_JOB_MINUTES = 10

STEPS = 6  # of the replaced design's state machine, each a container of its own
SHORT_STEP_MINUTES = 1 + 1  # start, and the least that Fargate bills
LONG_STEP_MINUTES = 1 + 15  # asking and evaluating, on 2 vCPU and 4 GB: the end of its own target of 10–15 minutes


def arm(vcpu: float, gigabytes: float) -> float:
    """Return the price of an hour of such a container on ARM."""
    return vcpu * ARM_VCPU_HOUR + gigabytes * ARM_GB_HOUR


def x86(vcpu: float, gigabytes: float) -> float:
    """Return the price of an hour of such a container on x86."""
    return vcpu * X86_VCPU_HOUR + gigabytes * X86_GB_HOUR
