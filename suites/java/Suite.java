import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Named checks that run one after the other and are counted. */
final class Suite {
    /** How long anything may take. */
    static final int SECONDS = 20;

    interface Check {
        void run() throws Exception;
    }

    private final Map<String, Check> checks = new LinkedHashMap<>();

    void check(String name, Check check) {
        checks.put(name, check);
    }

    /** Runs all checks, prints how each ended and the counts, and ends the program. */
    void runAndExit() {
        int failed = 0;
        for (var entry : checks.entrySet()) {
            try {
                entry.getValue().run();
                System.out.println("ok   " + entry.getKey());
            } catch (Throwable e) {
                failed++;
                System.out.println("FAIL " + entry.getKey());
                e.printStackTrace(System.out);
            }
        }
        System.out.printf("%d passed, %d failed%n", checks.size() - failed, failed);
        System.exit(failed == 0 ? 0 : 1);
    }

    static void equal(Object expected, Object actual) {
        if (!java.util.Objects.equals(expected, actual)) {
            throw new AssertionError("expected " + expected + ", got " + actual);
        }
    }

    static void that(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static <T> T get(Future<T> future) throws Exception {
        return future.get(SECONDS, TimeUnit.SECONDS);
    }

    /** Runs an action that must fail with an error of this class, perhaps as the cause of another. */
    static void fails(Class<? extends Throwable> expected, Check action) {
        try {
            action.run();
        } catch (Throwable e) {
            for (Throwable cause = e; cause != null; cause = cause.getCause()) {
                if (expected.isInstance(cause)) {
                    return;
                }
            }
            throw new AssertionError("expected " + expected.getSimpleName(), e);
        }
        throw new AssertionError("no " + expected.getSimpleName());
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    /** Apache Kafka answers before its broker knows of a change. */
    static void eventually(Condition condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (!condition.holds()) {
            that(System.nanoTime() < deadline, "it never came true");
            Thread.sleep(50);
        }
    }
}
