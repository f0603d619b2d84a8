//! The guest that writes: the small guest with a shell script that does what is typed, and says when it is flushed.

use super::log::Entry;
use super::oracle::{Change, Oracle};
use super::{SECTOR, VOLUME, run};
use crate::expect::path;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

/// A line is `ROUND STEP...`; a step: `w,SECTOR,COUNT[,direct]` writes, `d,SECTOR,COUNT` discards, both in the
/// background; `F` flushes what is written by then, in the background; `f` does and waits; `q` ends.
const SCRIPT: &str = r#"stty -echo
w(){ awk -v r=$1 -v s=$2 -v n=$3 'BEGIN{for(i=0;i<n;i++){t=sprintf("%-255s\n",r" "s+i);printf"%s%s",t,t}}'|dd of=$d bs=$(($3*512)) seek=$(($2*512)) iflag=fullblock oflag=seek_bytes${4:+,$4} conv=notrunc status=none;}
f(){ dd if=/dev/null of=$d conv=notrunc,fsync status=none&&echo "flushed $1.";}
until [ -b $d ];do sleep 0.1;done
echo ready.
while read -r r l;do for o in $l;do IFS=,
set -- $o
unset IFS
case $1 in w)w $r $2 $3 $4&;;d)blkdiscard -o $(($2*512)) -l $(($3*512)) $d&;;F)wait
f $r&;;f)wait
f $r;;q)exit;;esac;done
case $l in *F);;*)wait
echo "done $r.";;esac;done
"#;

/// Sectors of a granule.
const GRANULE: usize = 8;
/// Where most writes go, so that they meet.
const HOT: usize = 16;

pub(super) struct Line {
    pub(super) text: String,
    /// It flushes, and says so.
    pub(super) flushes: bool,
    /// The flush is in the background: the next round begins meanwhile.
    pub(super) goes_on: bool,
}

/// How the guest is launched.
pub(super) fn arguments(small: &Path, volume: &Path, device: &str, interface: &str) -> Vec<String> {
    let file = volume.with_file_name("script");
    std::fs::write(&file, format!("d={device}\n{SCRIPT}")).unwrap();
    let script = run("base64", &["-w0", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let append = format!("console=ttyS0 quiet run={script}");
    assert!(append.len() < 2048, "the kernel takes no more");
    let (kernel, initrd) = (path(small, "vmlinuz"), path(small, "initrd"));
    let launch = ["--kernel", &kernel, "--initrd", &initrd, "--append", &append, volume.to_str().unwrap()];
    let machine = ["--cpus", "2", "--memory", "256M", "--disk-interface", interface];
    launch.iter().chain(&machine).map(|text| (*text).to_owned()).collect()
}

/// Makes up a round. The last one flushes.
pub(super) fn round(random: &mut Random, round: u32, last: u32, oracle: &mut Oracle) -> Line {
    let mut line = Line { text: String::new(), flushes: false, goes_on: false };
    let mut taken: Vec<Range<usize>> = Vec::new();
    for _ in 0..random.below(4) + 2 {
        let whole = random.below(3) == 0;
        let sectors = piece(random, whole);
        // What happens at once must not overlap; what the guest's page cache holds is whole pages.
        if taken.iter().any(|other| other.start < sectors.end && sectors.start < other.end) {
            continue;
        }
        taken.push(sectors.clone());
        let (start, count) = (sectors.start, sectors.len());
        let (step, change) = match random.below(6) {
            0 if whole => ("d", Change::Discarded),
            _ => ("w", Change::Written),
        };
        let direct = if step == "w" && !(whole && random.below(3) == 0) { ",direct" } else { "" };
        write!(line.text, "{step},{start},{count}{direct} ").unwrap();
        oracle.note(round, sectors, change);
    }
    match random.below(5) {
        0 if round != last => line.text.push('s'),
        1 if round != last => {
            line.text.push('F');
            (line.flushes, line.goes_on) = (true, true);
        }
        _ => {
            line.text.push('f');
            line.flushes = true;
        }
    }
    line
}

fn piece(random: &mut Random, whole: bool) -> Range<usize> {
    let all = usize::try_from(VOLUME).unwrap() / SECTOR;
    let granules = if random.below(3) == 0 { all / GRANULE } else { HOT };
    // Half of the hot ones in the base, half behind it.
    let granule = random.below(granules);
    let granule = if granules == HOT && granule % 2 == 1 { all / GRANULE / 2 + granule } else { granule };
    let (start, len) = match whole {
        true => (granule * GRANULE, (random.below(4) + 1) * GRANULE),
        false => (granule * GRANULE + random.below(GRANULE), random.below(20) + 1),
    };
    start..(start + len).min(all)
}

/// Marsaglia's xorshift64, so that every run is the same.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.next() >> 16) % end as u64).unwrap()
    }

    /// Some of these entries, each whole or torn; what is written by FUA (a journal's commit, a superblock), whole.
    pub(super) fn choose<'a>(&mut self, entries: Vec<&'a Entry>) -> Vec<(&'a Entry, u64)> {
        let of_eight = [1, 4, 7][self.below(3)];
        let chosen: Vec<_> = entries.into_iter().filter(|_| self.below(8) < of_eight).collect();
        chosen
            .into_iter()
            .map(|entry| {
                (
                    entry,
                    if self.below(4) == 0 && !matches!(entry, Entry::Write { sync: true, .. }) {
                        self.next()
                    } else {
                        u64::MAX
                    },
                )
            })
            .collect()
    }
}
