/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Keeps KVM's intercept of writes to CR8, which kvm-amd sets when a vCPU is made
 * and drops while no interrupt waits below the guest's task priority (AMD64 APM
 * volume 2, 15.21.2).
 *
 * Why: the nested machine's CPU is QEMU's TCG. When a guest of KVM writes CR8
 * itself while a virtual interrupt is pending, QEMU 6.2 to 11.1 at least ends with
 * `assertion failed: (bql_locked())`. UEFI firmware does that at the end of every
 * interrupt; Linux and SeaBIOS were not seen to. A write that is intercepted is KVM's to
 * carry out, so the guest sees no difference.
 *
 * How: a probe at the start of the function that drops the intercept, whose
 * handler goes on at a function that does nothing. To be loaded after kvm-amd.
 */
#include <linux/kprobes.h>
#include <linux/module.h>

static notrace noinline void keep(void)
{
}

/* 1 says that the registers name the place to go on (kernel's trace/kprobes.rst). */
static int instead(struct kprobe *probe, struct pt_regs *regs)
{
	regs->ip = (unsigned long)keep;
	return 1;
}
NOKPROBE_SYMBOL(instead);

static struct kprobe probe = {
	.symbol_name = "svm_update_cr8_intercept",
	.pre_handler = instead,
};

static int __init keep_cr8_init(void)
{
	return register_kprobe(&probe);
}

/* Without a module_exit it stays for as long as the machine runs. */
module_init(keep_cr8_init);
MODULE_DESCRIPTION("Keeps KVM's intercept of writes to CR8");
/* The kernel lets no other module set probes. */
MODULE_LICENSE("GPL");
