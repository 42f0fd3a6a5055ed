//! Credentials for local servers, which look at none: where a developer has real ones, tests do not use them.

use std::sync::Once;

use millstream_services::REGION;

/// Gives this process what the standard chain of credentials looks for, once.
pub(crate) fn set() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let all = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        for (name, value) in all {
            #[expect(unsafe_code, reason = "nothing but Rust reads the environment here, which the library guards")]
            unsafe {
                std::env::set_var(name, value);
            }
        }
    });
}
