# Compiler settings, the libraries from Debian 12, and the three functions that folders use:
#   kraken_library(<target> SOURCES ... DEPS ...)      one static library per folder
#   kraken_executable(<target> SOURCES ... DEPS ...)
#   kraken_unit_test(<name> [THREADS] SOURCES ... DEPS ...)   a GoogleTest program and the ctest of the same name

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -gline-tables-only")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -gline-tables-only")
set(KRAKEN_SANITIZE "" CACHE STRING "Sanitizers to build with: address,undefined or thread")

find_program(KRAKEN_CCACHE ccache)
if(KRAKEN_CCACHE)
  # A precompiled header counts by the sum beside it (kraken_precompiled below), not by its bytes, which name the build directory.
  set(environment CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_PCH_EXTSUM=1)
  # Paths below the checkout are hashed relative to it, so that every clone on a machine shares what one has compiled.
  if(CMAKE_BINARY_DIR MATCHES "^${CMAKE_SOURCE_DIR}/")
    list(APPEND environment CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1)
  endif()
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env ${environment} ${KRAKEN_CCACHE})
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(prometheus-cpp REQUIRED)
find_package(GTest REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Protobuf REQUIRED)
find_package(RocksDB REQUIRED)
pkg_check_modules(murmurhash REQUIRED IMPORTED_TARGET libmurmurhash)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(libdeflate REQUIRED IMPORTED_TARGET libdeflate)
pkg_check_modules(re2 REQUIRED IMPORTED_TARGET re2)
pkg_check_modules(jemalloc REQUIRED IMPORTED_TARGET jemalloc)
find_package(Boost 1.81 REQUIRED)

add_library(kraken_options INTERFACE)
target_include_directories(kraken_options INTERFACE ${CMAKE_SOURCE_DIR})
target_include_directories(kraken_options SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/generated)
target_compile_options(kraken_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast
  -Woverloaded-virtual -Wcast-qual -Wimplicit-fallthrough -Wextra-semi -Werror
  -fno-omit-frame-pointer -fstack-protector-strong)
target_compile_definitions(kraken_options INTERFACE
  $<$<CONFIG:Release>:_FORTIFY_SOURCE=2> SPDLOG_FMT_EXTERNAL)
target_link_options(kraken_options INTERFACE -fuse-ld=lld -Wl,-z,relro,-z,now -Wl,--gc-sections)
target_compile_options(kraken_options INTERFACE -ffunction-sections)
target_link_libraries(kraken_options INTERFACE Threads::Threads fmt::fmt)

if(KRAKEN_SANITIZE)
  target_compile_options(kraken_options INTERFACE -fsanitize=${KRAKEN_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(kraken_options INTERFACE -fsanitize=${KRAKEN_SANITIZE})
  target_compile_definitions(kraken_options INTERFACE _GLIBCXX_ASSERTIONS KRAKEN_SANITIZED=1)
  if(KRAKEN_SANITIZE MATCHES "thread")
    target_compile_definitions(kraken_options INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
  endif()
endif()

# Asio and Beast are compiled once (src/net/asio_impl.cc, http/beast_impl.cc), not in every file that includes them.
add_library(kraken_asio INTERFACE)
target_compile_definitions(kraken_asio INTERFACE
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED
  BOOST_BEAST_SEPARATE_COMPILATION)
target_link_libraries(kraken_asio INTERFACE Boost::headers OpenSSL::SSL OpenSSL::Crypto)

# Sanitizer builds compile what nearly every file includes once, a third less work. The others do not: they prove that every file includes what it uses.
if(KRAKEN_SANITIZE)
  set(KRAKEN_PRECOMPILE ON)
endif()

# kraken_precompiled(<target> <header> <library>...): a precompiled header for others to reuse.
function(kraken_precompiled target header)
  set(source ${CMAKE_BINARY_DIR}/generated/${target}.cc)
  if(NOT EXISTS ${source})
    file(WRITE ${source} "")
  endif()
  add_library(${target} STATIC ${source})
  target_link_libraries(${target} PUBLIC kraken_options ${ARGN})
  target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  target_precompile_headers(${target} PRIVATE ${CMAKE_SOURCE_DIR}/${header})
  file(SHA256 ${CMAKE_SOURCE_DIR}/cmake/precompiled.h all)
  file(SHA256 ${CMAKE_SOURCE_DIR}/${header} own)
  file(SHA256 ${CMAKE_SOURCE_DIR}/cmake/kraken.cmake options)
  file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${target}.dir/cmake_pch.hxx.pch.sum
       CONTENT "${all} ${own} ${options} ${CMAKE_CXX_COMPILER_VERSION} ${KRAKEN_SANITIZE}\n")
endfunction()

function(kraken_reuse_precompiled target precompiled)
  if(KRAKEN_PRECOMPILE)
    # Not REUSE_FROM: it names the header by a second absolute path, and then no two clones share a compiler cache. The files depend on the
    # header, not the target on its target: Ninja orders only links by the latter, and a file compiled too early finds no header.
    set(header ${CMAKE_BINARY_DIR}/CMakeFiles/${precompiled}.dir/cmake_pch.hxx.pch)
    get_target_property(sources ${target} SOURCES)
    list(FILTER sources INCLUDE REGEX "[.]cc$")
    set_property(SOURCE ${sources} APPEND PROPERTY OBJECT_DEPENDS ${header})
    target_compile_options(${target} PRIVATE
      "$<$<NOT:$<BOOL:$<TARGET_PROPERTY:KRAKEN_OPTIMIZED>>>:SHELL:-Winvalid-pch -include-pch ${header}>")
  endif()
endfunction()

if(KRAKEN_PRECOMPILE)
  kraken_precompiled(kraken_precompiled_std cmake/precompiled.h)
  kraken_precompiled(kraken_precompiled_gtest cmake/precompiled_test.h GTest::gtest GTest::gmock)
endif()

# For what does so much in its tests that a build without optimisation would take minutes over seconds.
function(kraken_optimize target)
  target_compile_options(${target} PRIVATE -O2)
  set_target_properties(${target} PROPERTIES KRAKEN_OPTIMIZED ON)  # the precompiled header is not
endfunction()

function(kraken_library target)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${target} STATIC ${arg_SOURCES})
  target_link_libraries(${target} PUBLIC kraken_options ${arg_DEPS})
  kraken_reuse_precompiled(${target} kraken_precompiled_std)
endfunction()

function(kraken_executable target)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${target} ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE kraken_options ${arg_DEPS})
  kraken_reuse_precompiled(${target} kraken_precompiled_std)
endfunction()

set(KRAKEN_UNIT_SECONDS 300)
if(KRAKEN_SANITIZE)
  set(KRAKEN_UNIT_SECONDS 1800)
endif()
set(KRAKEN_TSAN_ENVIRONMENT "TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp")

# What a sanitizer build needs, without the rest.
add_custom_target(kraken_tests_asan)
add_custom_target(kraken_tests_tsan)

# THREADS: the test crosses threads, so it runs under the thread sanitizer too.
function(kraken_unit_test name)
  cmake_parse_arguments(arg "THREADS" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE kraken_options ${arg_DEPS} kraken_unit_main GTest::gtest GTest::gmock)
  kraken_reuse_precompiled(${name} kraken_precompiled_gtest)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    # What a test does itself is little, and compiles in half the time so; what it links is the product's. kraken_optimize takes it back.
    target_compile_options(${name} PRIVATE -O0 -U_FORTIFY_SOURCE)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set(threads "")
  if(arg_THREADS)
    set(threads tsan)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${KRAKEN_UNIT_SECONDS} LABELS "unit;${threads}")
  if(KRAKEN_SANITIZE MATCHES "thread")
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "${KRAKEN_TSAN_ENVIRONMENT}")
  endif()
  add_dependencies(kraken_tests_asan ${name})
  if(arg_THREADS)
    add_dependencies(kraken_tests_tsan ${name})
  endif()
endfunction()
