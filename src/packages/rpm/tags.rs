//! Numbers of the tags that are read or written here (RPM's reference manual, "Package tags"). All of them are part
//! of RPM's format.

/// Region of the signature header and of the main header: what digests and signatures cover.
pub const HEADER_SIGNATURES: u32 = 62;
pub const HEADER_IMMUTABLE: u32 = 63;

pub const NAME: u32 = 1000;
pub const VERSION: u32 = 1001;
pub const RELEASE: u32 = 1002;
pub const EPOCH: u32 = 1003;
pub const SUMMARY: u32 = 1004;
pub const INSTALLTIME: u32 = 1008;
pub const VENDOR: u32 = 1011;
pub const LICENSE: u32 = 1014;
pub const GROUP: u32 = 1016;
pub const URL: u32 = 1020;
pub const ARCH: u32 = 1022;
pub const PREIN: u32 = 1023;
pub const POSTIN: u32 = 1024;
pub const PREUN: u32 = 1025;
pub const POSTUN: u32 = 1026;
pub const FILESIZES: u32 = 1028;
pub const FILESTATES: u32 = 1029;
pub const FILEMODES: u32 = 1030;
pub const FILEMTIMES: u32 = 1034;
pub const FILEDIGESTS: u32 = 1035;
pub const FILELINKTOS: u32 = 1036;
pub const FILEFLAGS: u32 = 1037;
pub const FILEUSERNAME: u32 = 1039;
pub const FILEGROUPNAME: u32 = 1040;
pub const SOURCERPM: u32 = 1044;
pub const ARCHIVESIZE: u32 = 1046;
pub const PROVIDENAME: u32 = 1047;
pub const REQUIREFLAGS: u32 = 1048;
pub const REQUIRENAME: u32 = 1049;
pub const CONFLICTNAME: u32 = 1054;
pub const TRIGGERNAME: u32 = 1066;
pub const TRIGGERSCRIPTS: u32 = 1065;
pub const TRIGGERFLAGS: u32 = 1068;
pub const TRIGGERINDEX: u32 = 1069;
pub const VERIFYSCRIPT: u32 = 1079;
pub const PREINPROG: u32 = 1085;
pub const POSTINPROG: u32 = 1086;
pub const OBSOLETENAME: u32 = 1090;
pub const TRIGGERSCRIPTPROG: u32 = 1092;
pub const FILEINODES: u32 = 1096;
pub const DIRINDEXES: u32 = 1116;
pub const BASENAMES: u32 = 1117;
pub const DIRNAMES: u32 = 1118;
pub const PAYLOADFORMAT: u32 = 1124;
pub const PAYLOADCOMPRESSOR: u32 = 1125;
pub const INSTALLCOLOR: u32 = 1127;
pub const INSTALLTID: u32 = 1128;
pub const PRETRANS: u32 = 1151;
pub const POSTTRANS: u32 = 1152;
pub const PRETRANSPROG: u32 = 1153;
pub const POSTTRANSPROG: u32 = 1154;
pub const LONGFILESIZES: u32 = 5008;
pub const FILECAPS: u32 = 5010;
pub const FILEDIGESTALGO: u32 = 5011;
pub const RECOMMENDNAME: u32 = 5046;
pub const SUGGESTNAME: u32 = 5049;
pub const SUPPLEMENTNAME: u32 = 5052;
pub const ENHANCENAME: u32 = 5055;
pub const FILETRIGGERSCRIPTS: u32 = 5066;
pub const FILETRIGGERSCRIPTPROG: u32 = 5067;
pub const FILETRIGGERNAME: u32 = 5069;
pub const FILETRIGGERINDEX: u32 = 5070;
pub const FILETRIGGERFLAGS: u32 = 5072;
pub const TRANSFILETRIGGERSCRIPTS: u32 = 5076;
pub const TRANSFILETRIGGERSCRIPTPROG: u32 = 5077;
pub const TRANSFILETRIGGERNAME: u32 = 5079;
pub const TRANSFILETRIGGERINDEX: u32 = 5080;
pub const TRANSFILETRIGGERFLAGS: u32 = 5082;
pub const PAYLOADDIGEST: u32 = 5092;
pub const PAYLOADDIGESTALGO: u32 = 5093;
pub const PREUNTRANS: u32 = 5104;
pub const POSTUNTRANS: u32 = 5105;

/// Tags of the signature header, and the tags under which the database keeps them.
pub const SIGNATURES: [(u32, u32); 15] = [
    (1000, 257),
    (1002, 259),
    (1004, 261),
    (1005, 262),
    (1007, ARCHIVESIZE),
    (267, 267),
    (268, 268),
    (269, 269),
    (270, 270),
    (271, 271),
    (273, 273),
    (274, 5090),
    (275, 5091),
    (276, 276),
    (277, 277),
];

/// Size of header and payload in the signature header, in 32 and 64 bits.
pub const SIG_SIZE: u32 = 1000;
pub const SIG_LONGSIZE: u32 = 270;
/// OpenPGP signatures of the main header, and its SHA-256 in hexadecimal digits.
pub const SIG_DSA: u32 = 267;
pub const SIG_RSA: u32 = 268;
pub const SIG_SHA256: u32 = 273;
/// OpenPGP signatures of the main header as base64 texts (RPM 6).
pub const SIG_OPENPGP: u32 = 278;
/// Where the database finds the MD5 and SHA-1 that packages are known by.
pub const SIGMD5: u32 = 261;
pub const SHA1HEADER: u32 = 269;

/// SHA-256 among the digest algorithms (RFC 9580, 9.5).
pub const ALGORITHM_SHA256: u32 = 8;

/// Flags of files (`FILEFLAGS`).
pub const FILE_GHOST: u32 = 1 << 6;
