//! The versions of the tree: dates, and from which one on a category is there.

/// A version as a number that grows: 20210323.
pub(crate) type Version = u32;

/// The first one, `1.0`.
pub(crate) const FIRST: Version = 0;
/// `latest`, which is whatever came last.
pub(crate) const LATEST: Version = Version::MAX;

/// As an instance of 2024 lists them.
const VERSIONS: [(&str, Version); 29] = [
    ("1.0", FIRST),
    ("2007-01-19", 20070119),
    ("2007-03-01", 20070301),
    ("2007-08-29", 20070829),
    ("2007-10-10", 20071010),
    ("2007-12-15", 20071215),
    ("2008-02-01", 20080201),
    ("2008-09-01", 20080901),
    ("2009-04-04", 20090404),
    ("2011-01-01", 20110101),
    ("2011-05-01", 20110501),
    ("2012-01-12", 20120112),
    ("2014-02-25", 20140225),
    ("2014-11-05", 20141105),
    ("2015-10-20", 20151020),
    ("2016-04-19", 20160419),
    ("2016-06-30", 20160630),
    ("2016-09-02", 20160902),
    ("2018-03-28", 20180328),
    ("2018-08-17", 20180817),
    ("2018-09-24", 20180924),
    ("2019-10-01", 20191001),
    ("2020-10-27", 20201027),
    ("2021-01-03", 20210103),
    ("2021-03-23", 20210323),
    ("2021-07-15", 20210715),
    ("2022-09-24", 20220924),
    ("2024-04-11", 20240411),
    ("latest", LATEST),
];

pub(crate) fn find(name: &str) -> Option<Version> {
    VERSIONS.iter().find(|(known, _)| *known == name).map(|(_, version)| *version)
}

/// The root's listing.
pub(crate) fn listing() -> String {
    VERSIONS.map(|(name, _)| name).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_and_grow() {
        assert!(VERSIONS.is_sorted_by(|(_, one), (_, other)| one < other));
        for (name, version) in &VERSIONS[1..28] {
            assert_eq!(name.replace('-', ""), version.to_string());
        }
        assert_eq!((find("latest"), find("1.0"), find("2021-03-24")), (Some(LATEST), Some(FIRST), None));
    }
}
