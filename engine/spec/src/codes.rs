//! Every code a finding can have. `docs/diagnostics.md` explains each; a test keeps the two together.
//!
//! `E00xx` the file's YAML and structure - `E01xx` names, bindings, connectors - `E02xx` ports and the graph -
//! `E03xx` SQL - `E04xx` UDFs - `E05xx` what services say - `W0xxx` warnings, by the same hundreds.

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $code;)+
        /// All codes with what they mean, in order.
        pub const ALL: &[(&str, &str)] = &[$(($code, concat!($($doc),+))),+];
    };
}

codes! {
    /// The file is not YAML.
    YAML_SYNTAX = "E0001";
    /// The file uses a part of YAML that the pipeline language does not have: tags, maps as keys, several documents.
    YAML_UNSUPPORTED = "E0002";
    /// `*name` has no `&name` before it.
    YAML_ALIAS = "E0003";
    /// The file is too large once its aliases are expanded.
    YAML_TOO_LARGE = "E0004";
    /// The file is empty, or not a map.
    NOT_A_PIPELINE = "E0005";
    /// `version:` names a version of the language that this binary does not know.
    VERSION = "E0006";
    /// The key does not exist here.
    UNKNOWN_KEY = "E0010";
    /// The key stands twice in one map.
    DUPLICATE_KEY = "E0011";
    /// A key that is required is not there.
    MISSING_KEY = "E0012";
    /// The value has another type than the key needs.
    WRONG_TYPE = "E0013";
    /// The value is none of those the key allows.
    UNKNOWN_VALUE = "E0014";
    /// The number is too small or too large, or a list or map has too few or too many items.
    OUT_OF_RANGE = "E0015";
    /// Not a duration such as `10s`.
    BAD_DURATION = "E0016";
    /// Not a size such as `64MiB`.
    BAD_SIZE = "E0017";
    /// Not a column type such as `decimal(10,2)?`.
    BAD_COLUMN_TYPE = "E0018";
    /// Not a strftime format.
    BAD_TIME_FORMAT = "E0019";
    /// Not a time zone.
    BAD_TIMEZONE = "E0020";
    /// Not a path into a record such as `$.driver.id`.
    BAD_RECORD_PATH = "E0021";
    /// Not an identifier.
    BAD_IDENTIFIER = "E0022";
    /// The name has a meaning of its own in Millstream.
    RESERVED_NAME = "E0023";
    /// Exactly one of several keys must be there.
    EXACTLY_ONE = "E0024";
    /// A `${VARIABLE}` is not set.
    VARIABLE_UNSET = "E0025";
    /// A `${..}` is not well formed.
    BAD_VARIABLE = "E0026";
    /// `--set` names a place that the file does not have.
    SET_NOWHERE = "E0027";
    /// The option has no meaning for a column of this type.
    OPTION_MISFIT = "E0028";
    /// The value passed every check and could still not be read.
    UNREADABLE = "E0029";

    /// Two sources, tables, transforms or sinks have the same id.
    ID_TWICE = "E0101";
    /// There is no such profile.
    UNKNOWN_PROFILE = "E0102";
    /// The profile in use does not bind the name.
    NOT_BOUND = "E0103";
    /// There is no such connector.
    UNKNOWN_CONNECTOR = "E0104";
    /// The connector is known, but not part of this binary.
    NOT_BUILT_IN = "E0105";
    /// The connector cannot be a source, a sink or a table's store.
    WRONG_ROLE = "E0106";
    /// The connector refuses its options.
    BAD_OPTIONS = "E0107";
    /// A test names a source or binding that does not exist.
    TEST_NAME = "E0108";

    /// There is no such source, transform or table.
    UNKNOWN_STREAM = "E0201";
    /// There is no such table.
    UNKNOWN_TABLE = "E0202";
    /// The node exists, and has no such port.
    UNKNOWN_PORT = "E0203";
    /// Transforms read from each other in a circle.
    CYCLE = "E0204";
    /// A port of refused rows is neither read by a sink nor declared dropped.
    UNREAD_PORT = "E0205";
    /// A key, or another option that names a column, names none of the input's columns.
    UNKNOWN_COLUMN = "E0206";
    /// The column exists, and its type does not fit its use.
    COLUMN_TYPE = "E0207";
    /// Two upserts write the same table, or none does.
    TABLE_WRITERS = "E0208";
    /// Two inputs of an upsert set the same column without `latest_by`, or with different types.
    SHARED_COLUMN = "E0209";
    /// Early or revised results would go to a sink that cannot replace rows.
    REVISED_INTO_APPEND = "E0210";
    /// The inputs of one sink do not fit together.
    SINK_INPUTS = "E0211";
    /// A template names a column its rows do not have, or is not well formed.
    BAD_TEMPLATE = "E0212";
    /// `mode: overwrite` over rows that have no key.
    OVERWRITE_WITHOUT_KEY = "E0213";
    /// `emit:` stands beside SQL that has no window.
    EMIT_WITHOUT_WINDOW = "E0214";
    /// A refused port is both read by a sink and declared dropped.
    READ_AND_DROPPED = "E0215";
    /// The sink does not know an option, format or mode.
    SINK_OPTION = "E0216";
    /// Two sinks overwrite the same files.
    SHARED_PATH = "E0217";
    /// The connector cannot keep such a table.
    TABLE_STORE = "E0218";

    /// The SQL cannot be parsed.
    SQL_SYNTAX = "E0301";
    /// The SQL cannot be planned.
    SQL_PLAN = "E0302";
    /// A volatile function stands where results must not depend on when they are computed.
    SQL_VOLATILE = "E0303";
    /// A decimal result can have more than 38 digits.
    SQL_DECIMAL_OVERFLOW = "E0304";
    /// An aggregate over an unbounded input has no window.
    SQL_NEEDS_WINDOW = "E0305";
    /// The SQL names a column that its inputs do not have.
    SQL_UNKNOWN_COLUMN = "E0306";
    /// The SQL calls a function that does not exist.
    SQL_UNKNOWN_FUNCTION = "E0307";
    /// A rule or status is not a boolean expression.
    SQL_NOT_BOOLEAN = "E0308";
    /// The SQL is more than one query, or not a query.
    SQL_NOT_A_QUERY = "E0309";
    /// The SQL is valid and cannot run over a stream.
    SQL_NOT_STREAMING = "E0310";
    /// The arguments of a window are wrong.
    SQL_BAD_WINDOW = "E0311";
    /// The result would depend on the order in which rows arrive.
    SQL_ORDER_DEPENDENT = "E0312";

    /// A UDF's crate does not build, or its library cannot be used.
    UDF_UNUSABLE = "E0401";
    /// A UDF takes or gives a type that cannot be passed.
    UDF_SIGNATURE = "E0402";
    /// An option has no meaning for a UDF of this kind.
    UDF_OPTION = "E0403";
    /// A UDF has the name of a function that SQL has, or of another UDF.
    UDF_NAME = "E0404";
    /// A UDF is called with arguments it does not take, or where it cannot be called.
    UDF_CALL = "E0405";

    /// A service does not let the pipeline do what it says.
    SERVICE_REFUSES = "E0501";

    /// No node uses the binding.
    UNUSED_BINDING = "W0101";
    /// The connector is known, but not part of this binary: `run` would refuse it.
    NOT_BUILT_IN_HERE = "W0102";
    /// The pattern matches no port.
    EMPTY_PATTERN = "W0201";
    /// A status may cease to hold after it was entered.
    STATUS_NOT_MONOTONE = "W0202";
    /// Nothing reads the node's rows.
    UNREAD_NODE = "W0203";
    /// Rows without an event time go through a node that needs one.
    NO_EVENT_TIME = "W0204";
    /// The last digits of a result can depend on the order in which rows arrive.
    ORDER_DEPENDENT = "W0301";
    /// Early results are asked for and cannot be given.
    NO_EARLY_RESULTS = "W0302";
    /// A service lets the pipeline run, and probably not as meant.
    SERVICE_WARNS = "W0501";
}
